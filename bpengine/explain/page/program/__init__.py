"""A training step as a list of array operations, which the page computes again with other numbers.

The step and its explanation are run once on arrays that hold their values and record the operations that computed them, with
the kernels unchanged: neither kernels nor custom layers, losses and activations need JavaScript code.

operations    the list of operations, each once
followed      the arrays, and NumPy's functions on them
functions     each function of NumPy as operations
follower      a backend that computes with these arrays
activations   each activation as a separate short list, so that another can replace it
sources       the numbers that the page shows, as results of operations
recorded_step a step recorded twice, with different numbers; only what is the same both times is followed
"""
