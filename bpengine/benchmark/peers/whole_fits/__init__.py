"""Whole fits, as a user of each library would write them: one script per library, run in a separate process.

fit_script: reads the task from a folder, and writes the trained weights. A script loads its library and NumPy, and nothing of
the engine, unless the engine itself is timed.
"""
