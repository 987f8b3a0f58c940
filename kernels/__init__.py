"""Array operations on grids and tokens, without files, tasks or models.

The three versions of a kernel (numpy, numba, torch) share names and arguments and give equal results (tests/kernels).
Importing a module compiles nothing: numba compiles at the first call.
"""
