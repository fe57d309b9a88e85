"""The language of the command line. spoken_language: which one a run is in. help_pages: help in that language."""
