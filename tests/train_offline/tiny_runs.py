"""Training runs of seconds on two hand-made tasks, and what their tests share.

`torchrun -m tests.train_offline.tiny_runs RUN… / RUN…` trains as `-m train_offline RUN…` does, run after run in the
same processes: to start them costs more than to train.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from solver.__main__ import main
from solver.learning.memory import TrainingMemory
from solver.learning.ranks import Ranks, leave_ranks
from solver.settings.config import CanvasConfig, LearnerConfig, PredictConfig, TRMConfig
from tests.train_offline.problems.small_corpora import pair, save, task
from train_offline import cli
from train_offline.checkpoints import checkpoints
from train_offline.problems.arc_problem import arc_problem
from train_offline.problems.corpora import load_corpora
from train_offline.settings.config import ArcConfig, EvaluationConfig, TrainConfig
from train_offline.trainer import RunOptions, Trainer

CPU = torch.device("cpu")
COLLECTIVES = "collectives.json"
MODEL = TRMConfig(
    width=16, heads=2, cycles=1, latent_updates=1, positions="rope2d", embedding="per_cell", row_tokens=1, row_width=16
)
ARGUMENTS = [
    "tiny", "--model.width", "16", "--model.row-width", "16", "--model.latent-updates", "1", "--step-tokens", "300",
    "--evaluation.every", "None", "--evaluation.votes", "2", "--report-every", "5", "--arc.largest-side", "30",
]  # fmt: skip
"""The command line of a run as small; the corpus is to be added."""


def corpus(folder: Path) -> list[str]:
    """--data of two tasks: of "b" the test output is held out."""
    full = save(folder / "a.json", task([pair(1), pair(2)], [pair(3, 5)]))
    half = save(folder / "b.json", task([pair(4), pair(5, 5)], [pair(6)]))
    return ["--data", full, "--data", f"{half}:demonstrations"]


def tiny_config(
    folder: Path, steps: int = 8, rows: Any = "adam_atan2", evaluate_every: int | None = None
) -> TrainConfig:
    data = tuple(corpus(folder)[1::2])
    return TrainConfig(
        "test",
        steps,
        arc=ArcConfig(data=data, augmentations=12),
        model=MODEL if rows == "adam_atan2" else replace(MODEL, embedding="variant"),
        learner=LearnerConfig(lr=1e-3, row_lr=1e-3, row_optimizer=rows, warmup_steps=3, supervision_steps=3),
        canvases=CanvasConfig("tight"),
        step_tokens=300,
        evaluation=EvaluationConfig(evaluate_every, votes=2, predict=PredictConfig(supervision_steps=2)),
    )


def options(folder: Path, **changes: Any) -> RunOptions:
    return RunOptions(**{"out": folder / "run", "report_every": 2, "show_progress": False, **changes})


@contextmanager
def hurried() -> Iterator[None]:
    """Without seconds of preparation: what is held out by default, the machine's arithmetic, the memory of a step."""
    nothing_more = patch(
        "train_offline.problems.arc_problem.load_corpora", partial(load_corpora, held_out_by_default=())
    )
    no_memory = patch.object(TrainingMemory, "peak", lambda memory, chunk: 0)
    with nothing_more, no_memory, patch("train_offline.trainer.gemm_gflops", lambda *_: 10.0):
        yield


def train(*arguments: str) -> int:
    """`arc-trm train` of these arguments after those of every tiny run."""
    with hurried():
        return main(["train", *ARGUMENTS, *arguments])


def trainer(
    folder: Path,
    steps: int = 8,
    rows: str = "adam_atan2",
    evaluate_every: int | None = None,
    stop_after: int | None = None,
    change: Callable[[TrainConfig], TrainConfig] = lambda config: config,
    **run: Any,
) -> Trainer:
    """A trainer in `folder`/run; with `stop_after` it is run and left after so many steps."""
    config = change(tiny_config(folder, steps, rows, evaluate_every))
    with hurried():
        made = Trainer(config, arc_problem(config, 0, CPU), options(folder, **run), CPU, Ranks())
    if stop_after:
        made._options = replace(made._options, checkpoint_steps=stop_after)
        save_only = made._save

        def save_and_leave(window: Any) -> None:
            save_only(window)
            raise SystemExit

        made._save = save_and_leave  # type: ignore[method-assign]
        with suppress(SystemExit):
            made.run()
    return made


def same_checkpoints(a: Path, b: Path) -> None:
    """Whether the last checkpoints of two runs hold the same tensors, to the bit."""
    first, second = checkpoints(a)[-1], checkpoints(b)[-1]
    assert first.name == second.name
    names = {path.name for path in first.glob("*.safetensors")}
    assert names == {path.name for path in second.glob("*.safetensors")}
    assert {"model.safetensors", "training.safetensors", "slots-0.safetensors"} <= names
    for name in names:
        one, other = load_file(first / name), load_file(second / name)
        assert one.keys() == other.keys()
        for key, tensor in one.items():
            assert torch.equal(tensor, other[key]), f"{name}: {key}"


@contextmanager
def counting_collectives() -> Iterator[None]:
    """Write into the folder of every run how often rank 0 exchanges tensors with others in a step, the third."""
    counts, step = Counter[str](), Trainer._step

    def counted(name: str) -> Any:
        real = getattr(dist, name)

        def call(*given: Any, **named: Any) -> Any:
            counts[name] += 1
            return real(*given, **named)

        return patch.object(dist, name, call)

    def stepped(trainer: Trainer, *given: Any) -> bool:
        """From the third step to the fourth: what follows the step is counted too."""
        if trainer.progress.step == 2:
            counts.clear()
        if trainer.progress.step == 3 and trainer._ranks.rank == 0:
            (trainer._options.out / COLLECTIVES).write_bytes(orjson.dumps(counts))
        return step(trainer, *given)

    between = patch.object(Trainer, "_step", stepped)
    with counted("all_gather"), counted("all_reduce"), counted("barrier"), between:
        yield


if __name__ == "__main__":
    join_once = cache(cli.join_ranks)
    leave = patch.object(cli, "leave_ranks", lambda: None)
    with patch.object(cli, "join_ranks", join_once), leave, counting_collectives():
        for is_end, run in groupby(sys.argv[1:], lambda word: word == "/"):
            assert is_end or train(*run) == 0
    leave_ranks()
