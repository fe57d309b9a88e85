"""Fits beside each other: what a fit does by itself or beside others, and how the epochs of several are run as one."""
