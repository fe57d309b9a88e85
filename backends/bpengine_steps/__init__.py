"""The step compiler, for any target: a training step recorded as a graph, lowered, fused, ordered and laid out in memory.

ir           the intermediate representation: nodes, their graph, and groups of them
tracing      a step run once on arrays that note what kernels do to them
signature    what a plan is made for: the form of state and data
target       what planning asks of a target
lowering     the graph rewritten for a target; sums over rows in two stages
access       how an operand lies under a pass
fusion       which operations share a pass over memory
ordering     in what order, which share a call, and which new state is written over the old
memory_plan  where every array lies, and for how long
plan         all of that for one step
functions    a function that is no step, such as an evaluation, planned as one
adaptive     when compiling pays
disk         what is compiled is kept

This package imports NumPy and the engine's `backend` and `errors`, nothing of LLVM, CUDA or JAX. A target answers for its own
bits: how it computes single operations, what may join a pass, and how much may run at the same time.
"""
