"""Metrics: scores of predictions beside the loss, those of scikit-learn by name, and custom ones.

known_metrics: the table of names. metric: `Metric`, a custom one. choice: the requested metrics, checked against a network.
truth: what predictions are compared with. scoring: the numbers.
"""
