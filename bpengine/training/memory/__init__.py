"""What a fit keeps in memory: rows read in time, and earlier states to go back to.

row_reader reads pieces of arrays, prefetch reads the next one meanwhile; snapshots keeps states and restores a model's arrays,
and spill stores large ones in files.
"""
