"""The time of a training step, in rounds, and its memory."""
