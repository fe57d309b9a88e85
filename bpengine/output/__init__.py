"""Output of the engine: JSON values, text without invisible characters, HTML for notebooks, and files."""
