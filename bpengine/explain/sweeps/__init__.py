"""The loss as a function of one or two parameters, and a fit's steps on it.

sweep          sweep(): the curve or surface
loss_function  the loss and its slopes at a point, all other parameters frozen
trajectory     the steps of a fit
"""
