"""Fits beside each other: what a fit does by itself or in company, and how the epochs of several are run as one."""
