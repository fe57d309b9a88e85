"""What a check returns: single results (`results`), and reports that can be printed, made JSON and raised."""
