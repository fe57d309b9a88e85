"""Metrics: scores of predictions beside the loss, those of scikit-learn by name and those of one's own.

known_metrics: the table of names. metric: `Metric`, one of one's own. choice: which of them a network can be scored by.
truth: what predictions are compared with. scoring: the numbers.
"""
