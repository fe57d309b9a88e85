"""Output of the engine: JSON values, text without invisible characters, forms for notebooks, and files."""
