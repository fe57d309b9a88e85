"""How long a training step takes, in rounds, and how much memory."""
