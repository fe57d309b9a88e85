"""What a fit keeps in memory: prefetched rows, and earlier states to return to.

row_reader reads pieces of arrays, prefetch reads the next one while one is in use, epoch_orders draws the order of the next
epoch while one runs; snapshots keeps states and restores a model's arrays, and spill stores large ones in files.
"""
