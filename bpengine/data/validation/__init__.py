"""Checks of data before anything is trained: features, targets, class names, options, and the scans for bad numbers."""
