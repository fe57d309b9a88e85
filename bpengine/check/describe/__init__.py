"""Words for numbers: which element (`elements`), what a wrong gradient looks like (`error_patterns`), special values."""
