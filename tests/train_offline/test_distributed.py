"""Two processes under torchrun train as one does, and go on when one of them is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from solver.learning.ranks import Ranks
from tests.train_offline.tiny_runs import ARGUMENTS, corpus, same_checkpoints
from train_offline.checkpoints import checkpoints
from train_offline.metrics import read_metrics

pytestmark = pytest.mark.slow

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
ROWS = {
    "adam_atan2": [],
    "sign_sgd": ["--learner.row-optimizer", "sign_sgd", "--learner.row-lr", "0.01", "--model.embedding", "variant"],
}


def train(folder: Path, name: str, ranks: int, *more: str) -> subprocess.Popen[bytes]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "--max-restarts", "2"]
    run = ["-m", "train_offline", *ARGUMENTS, *corpus(folder), "--report-every", "1", "--out", str(folder / name)]
    return subprocess.Popen([sys.executable, *(launch if ranks > 1 else []), *run, *more], env=ENVIRONMENT)


@pytest.mark.parametrize("rows", ROWS)
def test_two_ranks_have_the_losses_of_one(tmp_path: Path, rows: str) -> None:
    runs = [train(tmp_path, str(ranks), ranks, "--steps", "12", *ROWS[rows]) for ranks in (1, 2)]
    assert [run.wait(600) for run in runs] == [0, 0]
    one, two = ([line for line in read_metrics(tmp_path / name) if line["group"] == "train"] for name in ("1", "2"))
    assert [line["step"] for line in one] == [line["step"] for line in two] == list(range(1, 13))
    for key in ("loss", "token_loss", "halting_loss", "supervision_steps", "exact"):
        assert [line[key] for line in two] == pytest.approx([line[key] for line in one], rel=1e-5), key
    scores = [line for name in ("1", "2") for line in read_metrics(tmp_path / name) if line["group"] == "evaluation"]
    assert scores[0] == scores[1]


def test_a_killed_rank_costs_nothing_but_time(tmp_path: Path) -> None:
    """torchrun starts both ranks again, and they end where two that nobody killed end, to the bit."""
    steps = ["--steps", "60", "--checkpoint-steps", "10"]
    assert train(tmp_path, "whole", 2, *steps).wait(600) == 0
    run = train(tmp_path, "killed", 2, *steps)
    while not checkpoints(tmp_path / "killed"):
        assert run.poll() is None
        time.sleep(0.005)
    os.kill(workers(run.pid)[-1], signal.SIGKILL)
    assert run.wait(600) == 0
    same_checkpoints(tmp_path / "whole", tmp_path / "killed")
    assert len(list(checkpoints(tmp_path / "killed")[-1].glob("slots-*"))) == 2
    assert '"restarts": 1' in (checkpoints(tmp_path / "killed")[-1] / "training.json").read_text()


def workers(parent: int) -> list[int]:
    """The processes that torchrun has started."""
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_a_run_of_two_ranks_goes_on_as_one(tmp_path: Path) -> None:
    constant = ["--learner.schedule", "constant", "--steps"]
    whole_run = train(tmp_path, "whole", 1, *constant, "10")
    assert train(tmp_path, "run", 2, *constant, "5").wait(600) == 0
    assert train(tmp_path, "run", 1, *constant, "10", "--resume").wait(600) == 0
    assert whole_run.wait(600) == 0
    resumed, whole = (read_metrics(tmp_path / name)[-2] for name in ("run", "whole"))
    assert resumed["step"] == whole["step"] == 10
    assert resumed["loss"] == pytest.approx(whole["loss"], rel=1e-5)


@pytest.mark.parametrize("total", [4, 5, 7, 100])
def test_shares_are_every_slot_once(total: int) -> None:
    slots = torch.arange(total)
    parts = [slots[Ranks(rank, 4).share(total)] for rank in range(4)]
    assert torch.cat(parts).tolist() == slots.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
