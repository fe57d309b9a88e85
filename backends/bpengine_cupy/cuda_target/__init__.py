"""Compiled epochs on an NVIDIA GPU: a recorded step lowered, fused and written out as CUDA C, run as captured graphs.

lowering     sums over the batch in two stages, without atomics
fusion       which operations share a pass over memory
launches     which passes share a launch, in what order, and what is written in place
memory       where every array lies, and for how long
expressions  operations as CUDA C
operands     how an operand lies under a pass
flat, rows, columns   the three forms of a pass
source       the whole text and its calls
prelude.cuh  what generated kernels stand on
compiler     NVRTC, without a driver; cubins are kept on disk
cublaslt     matrix products through cuBLASLt, each algorithm chosen by timing
algorithms   the choices, kept for good
driver       the few calls that touch a GPU
program      a step bound to memory, run in windows

No kernel, layer, loss or update rule has CUDA code of its own.
"""
