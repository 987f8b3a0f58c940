"""Four processes under torchrun train as one does, and go on when one of them is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from solver.learning.ranks import Ranks
from tests.train_offline.tiny_runs import COLLECTIVES, corpus, same_checkpoints, train
from train_offline.checkpoints import checkpoints
from train_offline.metrics import read_metrics

pytestmark = pytest.mark.slow

LOSSES = ["--report-every", "1", "--steps", "12"]
MOVED_APART = ["--learner.row-optimizer", "sign_sgd", "--learner.row-lr", "0.01", "--model.embedding", "variant"]
ROWS = {"adam_atan2": LOSSES, "sign_sgd": [*LOSSES, *MOVED_APART]}
CONSTANT = ["--report-every", "1", "--learner.schedule", "constant", "--steps"]
LONG = ["--steps", "60", "--checkpoint-steps", "10"]


def four_ranks(folder: Path, **runs: list[str]) -> subprocess.Popen[bytes]:
    """Four processes under torchrun that train one run after the other, each into the folder of its name."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4", "--max-restarts", "2"]
    words = [word for name, run in runs.items() for word in (*corpus(folder), "--out", str(folder / name), *run, "/")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *launch, "-m", "tests.train_offline.tiny_runs", *words], env=environment)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of runs of four ranks that nobody disturbed."""
    folder = tmp_path_factory.mktemp("runs")
    assert four_ranks(folder, **ROWS, part=[*CONSTANT, "5"], long=LONG).wait(600) == 0
    return folder


@pytest.mark.parametrize("rows", ROWS)
def test_four_ranks_have_the_losses_of_one(runs: Path, tmp_path: Path, rows: str) -> None:
    assert train(*corpus(tmp_path), "--out", str(tmp_path / rows), *ROWS[rows]) == 0
    one, four = (read_metrics(folder / rows) for folder in (tmp_path, runs))
    assert [line["step"] for line in four if line["group"] == "train"] == list(range(1, 13))
    for mine, theirs in zip(one, four, strict=True):
        for key in ("step", "loss", "token_loss", "halting_loss", "supervision_steps", "exact"):
            if mine["group"] == "train":
                assert theirs[key] == pytest.approx(mine[key], rel=1e-5), key
    assert one[-1] == four[-1]
    assert one[-1]["group"] == "evaluation"


@pytest.mark.parametrize("rows", ROWS)
def test_a_step_has_few_collectives(runs: Path, rows: str) -> None:
    """Which slots are free, or also gradients of rows with their ids; gradients, what is reported, whether to end."""
    counts = json.loads((runs / rows / COLLECTIVES).read_text())
    assert counts == {"all_gather": 1 if rows == "adam_atan2" else 3, "all_reduce": 3}


def test_a_killed_rank_costs_nothing_but_time(runs: Path, tmp_path: Path) -> None:
    """torchrun starts all ranks again, and they end where four that nobody killed end, to the bit."""
    run = four_ranks(tmp_path, killed=LONG)
    while not checkpoints(tmp_path / "killed"):
        assert run.poll() is None
        time.sleep(0.005)
    os.kill(workers(run.pid)[-1], signal.SIGKILL)
    assert run.wait(600) == 0
    same_checkpoints(runs / "long", tmp_path / "killed")
    assert len(list(checkpoints(tmp_path / "killed")[-1].glob("slots-*"))) == 4
    assert '"restarts": 1' in (checkpoints(tmp_path / "killed")[-1] / "training.json").read_text()


def workers(parent: int) -> list[int]:
    """The processes that torchrun has started."""
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_a_run_of_four_ranks_goes_on_as_one(runs: Path, tmp_path: Path) -> None:
    data = corpus(runs)
    shutil.copytree(runs / "part", tmp_path / "part")
    assert train(*data, "--out", str(tmp_path / "part"), *CONSTANT, "10", "--resume") == 0
    assert train(*data, "--out", str(tmp_path / "whole"), *CONSTANT, "10") == 0
    resumed, whole = (read_metrics(tmp_path / name)[-2] for name in ("part", "whole"))
    assert resumed["step"] == whole["step"] == 10
    assert resumed["loss"] == pytest.approx(whole["loss"], rel=1e-5)


@pytest.mark.parametrize("total", [4, 5, 7, 100])
def test_shares_are_every_slot_once(total: int) -> None:
    slots = torch.arange(total)
    parts = [slots[Ranks(rank, 4).share(total)] for rank in range(4)]
    assert torch.cat(parts).tolist() == slots.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
