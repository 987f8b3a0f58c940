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
# Made by `arc-trm package`. It needs no network: the code, the weights and the wheels are attached datasets. Submitted,
# it writes `submission.json`; run by hand, it also rehearses and shows what it got.

# %%
import os
import shlex
import sys
from pathlib import Path

ROOT = Path(os.environ.get("KAGGLE_ROOT", "/kaggle"))
OPTIONS = shlex.split(os.environ.get("KAGGLE_OPTIONS", ""))  # none: it decides by itself; or "--budget 11h30m"
CODE = min(ROOT.glob("input/**/submission/notebook.py")).parent.parent
sys.path.insert(0, str(CODE))
from submission import notebook  # noqa: E402 (found by the line above)

# %%
notebook.install_wheels(ROOT)

# %%
notebook.run(ROOT, OPTIONS)

# %%
notebook.show_report(ROOT)
