"""benchmarks/: each module measures one thing; `arc-trm bench NAME` prints its rows as a table and as JSON.

augment.py   encode: grids to tokens, pairs a second
tally.py     decode, undo and count: predictions a second
"""
