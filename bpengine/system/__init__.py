"""Diagnosis of this machine: processor and memory, the BLAS library and the variables that override its choice.

hardware: processor, cores, memory. blas: the BLAS library behind NumPy. blas_overrides: settings that force OpenBLAS to other
kernels, and their cost, timed by matmul_probe. launcher: mpiexec, and the variables that it sets for the processes it starts.
mpi_library: the MPI of this machine. `bpengine doctor` and `bpengine bench` both use it.

What all packages may use as well: quiet, NumPy's error settings; lru_cache and process_caches; chosen_language.
"""
