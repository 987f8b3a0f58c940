"""kernels/: array work on grids and tokens. No files, no tasks, no models; imports numpy, numba and torch only.

symmetry.py       the eight symmetries of the square and colour permutations, as tables and arithmetic
canvas.py         packed grids, encode (grid -> tokens on a canvas), two decoders (tokens -> grid size): the meaning
canvas_numba.py   its twin for CPU batches
canvas_torch.py   its twin for any device
tally.py          the key of a restored grid, and the count of equal grids: the meaning
tally_numba.py    its twin for CPU batches
tally_torch.py    its twin for any device
jit.py            how numba compiles here: cached where the disk allows it

Twins share names and signatures and give equal results; tests/kernels holds them to it. Importing a module compiles
nothing: numba compiles at the first call.
"""
