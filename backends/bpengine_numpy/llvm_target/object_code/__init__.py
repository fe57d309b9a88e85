"""Machine code: made by Numba from text, kept on disk, brought into the process.

numba_build   Python text to object code
machine_code  what is kept of a compiled text, and the processor that it is made for
loop_cache    object code on disk, loaded by LLVM without Numba where it is there already
"""
