"""The language of the command line. spoken_language: chooses the language of a run. help_pages: help in that language."""
