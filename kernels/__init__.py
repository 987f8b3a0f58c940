"""kernels/: array operations on grids and tokens, without files, tasks or models.

symmetry.py       the eight symmetries of the square and colour permutations
canvas.py         packed grids, encode (grid to tokens on a canvas), two decoders (tokens to grid size): reference
canvas_numba.py   the same for batches on a CPU
canvas_torch.py   the same for any device
tally.py          keys of restored grids, and counts of equal grids: reference
tally_numba.py    the same for batches on a CPU
tally_torch.py    the same for any device
jit.py            numba compilation, cached on disk where possible
yardstick.py      the speed of this machine's matrix product

The three versions of a kernel share names and arguments and give equal results (tests/kernels). Importing a module
compiles nothing: numba compiles at the first call.
"""
