"""Gradients and outputs as sums of terms, from the numbers of a trace.

sums               Sums, Term: a number as a sum, exact summation, and whether it adds up
dataflow           which calls produced and consumed which arrays; each gradient, and the z of a unit, as a sum of terms
local_derivatives  dy/dx of one call, route by route, from the kernel's row
"""
