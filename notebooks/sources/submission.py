# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # ARC: the submission
#
# Made by `arc-trm package`. It needs no network: code, weights and wheels are attached datasets. When submitted, it
# writes `submission.json`. When run by hand, it also rehearses on the evaluation set and shows the score.

# %%
import os
import shlex
import sys
from pathlib import Path

ROOT = Path(os.environ.get("KAGGLE_ROOT", "/kaggle"))
OPTIONS = shlex.split(os.environ.get("KAGGLE_OPTIONS", ""))  # for example "--budget 11h30m"; by default none are needed
CODE = min(ROOT.glob("input/**/submission/notebook.py")).parent.parent
sys.path.insert(0, str(CODE))
from submission import notebook  # noqa: E402 (found by the line above)

# %%
notebook.install_wheels(ROOT)

# %%
notebook.preflight(ROOT, OPTIONS)

# %%
notebook.run(ROOT, OPTIONS)

# %%
notebook.show_report(ROOT)
