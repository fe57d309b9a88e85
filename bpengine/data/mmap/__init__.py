"""Arrays mapped from files: pages (which of them are in memory) and row_file (rows read from the file behind a map)."""
