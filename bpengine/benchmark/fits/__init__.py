"""How long a user waits for whole fits, from the start of a process to its last step.

fit_workloads: what is fitted. fit_files: the folder that a process reads and writes. entrants: who takes part, and with what
caches. fit_process: one process, timed. fit_rounds: all of them in turns. fit_results: what was measured.
"""
