"""Compiled epochs on an NVIDIA GPU: a step planned by `bpengine_steps`, written as CUDA C, run as captured graphs.

target       the GPU as a target: what joins a pass, what shares a launch, how sums over rows are divided
pass_form    which of three forms a pass has
expressions  operations as CUDA C
epilogues    products that include the operations after them; off by default
bfloat16     operands of products in two bytes
cublaslt     matrix products, each algorithm chosen by timing
codegen      launches as CUDA C; prelude.cuh holds their common definitions
compiler     NVRTC, without a driver; cubins are kept on disk
driver       the few calls that touch a GPU
program      a step bound to memory, run in windows

No kernel, layer, loss or update rule needs CUDA code.
"""
