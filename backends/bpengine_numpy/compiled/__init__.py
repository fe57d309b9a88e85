"""Compiled epochs for the NumPy backend: the training step recorded once, then run without Python between its kernels.

graph       what was recorded: arrays and the operations that make them
recording   arrays that note what kernels do to them
fused       which operations are computed inside fused loops, and how they are written
fusion      which operations share a pass over memory
schedule    in what order, and where every array lies
loops       a pass as code, compiled by Numba and kept on disk
numpy_loops NumPy's own inner loops (matrix products, exp, log ...) by address
threads     OpenBLAS's, which share the long passes
machine     runs the list of native calls
program     the list, bound to memory
epochs      when it pays to compile

Every number comes out as the kernels on NumPy give it, to the last bit: algebra is exact in IEEE arithmetic, and all
else is done by the very loops that NumPy runs, in the same order. So nothing depends on when compilation sets in.
"""
