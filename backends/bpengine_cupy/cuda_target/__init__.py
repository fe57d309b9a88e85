"""Compiled epochs on an NVIDIA GPU: a recorded step lowered, fused and written out as CUDA C, run as captured graphs.

lowering     sums over the batch in two stages, without atomics
expressions  operations as CUDA C
access       how an operand lies under a pass
fusion       which operations share a pass over memory
launches     which passes share a launch, in what order, and what is written in place
memory       where every array lies, and for how long
cublaslt     matrix products, each algorithm chosen by timing
codegen      launches as CUDA C; prelude.cuh is what that stands on
compiler     NVRTC, without a driver; cubins are kept on disk
driver       the few calls that touch a GPU
program      a step bound to memory, run in windows

No kernel, layer, loss or update rule has CUDA code of its own.
"""
