"""Machine code: compiled by LLVM from text, kept on disk, loaded into the process.

llvm_build    LLVM's instructions to object code
machine_code  the stored form of a compiled text, and the processor for which it is made
loop_cache    object code on disk, loaded if it was compiled before
"""
