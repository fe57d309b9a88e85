"""Whole fits, as a user of each library would write them: one script per library, run in a process of its own.

fit_script: what is to be trained is read from a folder, and what was trained is written there. A script loads its own library
and NumPy: of the engine it loads nothing, unless it is the engine that is timed.
"""
