"""benchmarks/: each module measures one thing; `arc-trm bench NAME` prints its rows as a table and as JSON.

cli.py       the command: the table, then one JSON document
gemm.py      the yardstick: this machine's own float32 matrix product
learner.py   a supervision step, in training and in prediction: samples a second
augment.py   encode: grids to tokens, pairs a second
tally.py     decode, undo and count: predictions a second
"""
