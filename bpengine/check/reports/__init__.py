"""What a check returns: single results (`results`), and reports that can be printed, converted to JSON and raised."""
