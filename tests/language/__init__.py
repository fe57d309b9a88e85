"""What people read, in every language: sentences taken from the sources, the catalogue, and the search for what is missing."""
