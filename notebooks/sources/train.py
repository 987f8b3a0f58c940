# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train, evaluate, package
#
# Trains a small network in minutes on a CPU. The same cells train any preset; `arc-trm train --help` lists them.

# %%
import os
import shlex
from pathlib import Path

from IPython.display import Image

from solver.__main__ import main as arc_trm
from train_offline.checkpoints import checkpoints
from train_offline.metrics import draw_curves, read_metrics

RUN = Path(os.environ.get("ARC_RUN", "out/train"))  # everything is written here
TRAINING = shlex.split(os.environ.get("ARC_TRAINING", "tiny --time-limit 10m"))  # the preset and its settings
PACKAGING = shlex.split(os.environ.get("ARC_PACKAGING", "--no-wheels"))  # for Kaggle: "--user YOUR-NAME"

# %% [markdown]
# An interrupted run continues where it stopped.

# %%
assert arc_trm(["train", *TRAINING, "--out", str(RUN), "--resume"]) == 0

# %%
draw_curves([RUN], RUN / "curve.png")
Image(filename=RUN / "curve.png")

# %% [markdown]
# The score on held-out test outputs.

# %%
[line for line in read_metrics(RUN) if line["group"] == "evaluation"][-1]

# %% [markdown]
# Packs the last checkpoint for Kaggle. The last lines printed are the commands that upload it.

# %%
weights = checkpoints(RUN)[-1]
assert arc_trm(["package", "--out", str(RUN / "package"), "--weights", str(weights), *PACKAGING]) == 0
