"""benchmarks/: each module measures one thing; `arc-trm bench NAME` prints its rows as a table and as JSON.

cli.py         the command: a table, then one JSON document
learner.py     a supervision step, in training and in prediction: samples per second
augment.py     encoding grids as tokens: pairs per second
tally.py       decoding and counting: predictions per second
deadlines.py   whether runs keep random budgets, and use them
unseen.py      MiniARC as challenges and solutions, tasks in no training corpus
"""
