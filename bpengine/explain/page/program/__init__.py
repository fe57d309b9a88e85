"""A training step as a list of array operations, which the page computes again with other numbers.

The step and its explanation are run once on arrays that hold their values and note where they came from, with the kernels as
they stand: neither kernels nor custom layers, losses and activations have JavaScript of their own.

operations    the list of operations, each once
followed      the arrays, and what NumPy does with them
functions     what each function of NumPy is as operations
follower      a backend that computes with these arrays
activations   each activation as a short list of its own, so that another can take its place
sources       the numbers that the page shows, as operations' results
step          a step recorded twice, with different numbers; only what is the same both times is followed
"""
