"""What leaves the engine: JSON values, text whose characters can all be seen, and the writing of files."""
