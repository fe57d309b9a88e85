"""Pickles of models and what belongs to them, and the estimators for scikit-learn."""
