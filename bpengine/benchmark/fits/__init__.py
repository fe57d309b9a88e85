"""The time of whole fits, from the start of a process to its last step.

fit_workloads: the fits. fit_files: the folder that a process reads and writes. entrants: the contenders and their caches.
fit_process: one process, timed. fit_rounds: all of them in turns. fit_results: the measurements.
"""
