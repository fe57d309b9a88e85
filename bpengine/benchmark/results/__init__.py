"""The output of a run: the record as JSON, tables and the page (report), and the figure."""
