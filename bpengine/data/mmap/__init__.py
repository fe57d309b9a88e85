"""Arrays mapped from files. row_file: rows read from the file behind a map, and which pages of a map are in memory."""
