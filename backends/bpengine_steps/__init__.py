"""The step compiler, for any target: a training step recorded as a graph, lowered, fused, ordered and laid out in memory.

ir           the intermediate representation: nodes, their graph, and groups of them
tracing      a step run once on arrays that note what kernels do to them
signature    shapes and dtypes of state and data for which a plan is made
target       the interface of a target
lowering     the graph rewritten for a target; sums over rows in two stages
access       the order in which a pass reads an operand
fusion       which operations share a pass over memory
ordering     the order of groups, which of them share a call, and which new state overwrites the old
memory_plan  the place and the lifetime of every array
plan         all of that for one step
functions    other functions, such as evaluations, planned like a step
adaptive     when compiling pays
disk         the cache of compiled code on disk

This package imports NumPy and the engine's `backend` and `errors`, nothing of LLVM, CUDA or JAX. A target decides what
depends on its machine: how single operations are computed, what may join a pass, and what may run at the same time.
"""
