"""One training step with every number in it: kernel calls, layers, parameters, the first number that is not finite.

recorder   records every kernel call, each kernel compiled by itself
steps      traces of consecutive steps, with every layer's inputs, outputs and gradients
trace      Trace: one step
layers     LayerTrace: x, z, a, da, dz of one layer
nonfinite  the first number that is not finite
rule       the kernel that made an update, or the custom rule outside of kernels
"""
