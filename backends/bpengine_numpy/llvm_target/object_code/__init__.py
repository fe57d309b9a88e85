"""Machine code: made by LLVM from text, kept on disk, brought into the process.

llvm_build    LLVM's instructions to object code
machine_code  what is kept of a compiled text, and the processor that it is made for
loop_cache    object code on disk, loaded where it is there already
"""
