"""What a run leaves: the record as JSON, tables and the page (report), and the figure."""
