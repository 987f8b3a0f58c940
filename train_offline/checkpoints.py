"""Checkpoints of a training run: weights ready to use, and everything that a resume to the bit needs.

A checkpoint is a folder `checkpoints/step-00001000`. It holds the averaged weights in the format that `--weights` takes
(`solver/model/weights.py`), `training.json` (counts, position in the stream, settings), `training.safetensors` (raw
weights, optimizer) and `slots-RANK.safetensors` (the examples in the slots, and the states of those that have not
halted). It is written under another name and renamed when complete, so that a kill at any moment leaves the previous
checkpoint intact.
"""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from solver.common.checks import InputError, fault, shown
from solver.common.files import code_digest, read_json, write_atomically
from solver.learning.learner import Learner, Slots
from solver.learning.optimizers import MOMENTS
from solver.model.trm import State
from solver.model.weights import MANIFEST, Knowledge, load_knowledge, read_tensors, save_knowledge, write_tensors
from solver.tokens.encode import Batch
from train_offline.problems.problem import Stream
from train_offline.settings.config import TrainConfig

FOLDER = "checkpoints"
LAUNCH, RUN_ID = "launch", "TORCHELASTIC_RUN_ID"
COUNTS, TENSORS = "training.json", "training.safetensors"
log = logging.getLogger("arc_trm")

_SLOT_PARTS = (*Batch._fields[:-1], "steps", "halted")  # without the packing: packed examples are never carried over


@dataclass
class TrainingProgress:
    """How far a run has come, and what identifies it."""

    seed: int
    data: str  # digest of the training data
    step: int = 0  # steps done
    seconds: float = 0.0  # of training, over all its runs
    cpu_seconds: float = 0.0  # of rank 0, likewise
    first_loss: float | None = None  # mean over the first window: divergence is measured against it
    restarts: int = 0  # how often it was resumed


def checkpoints(out: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(p for p in (out / FOLDER).glob("step-*") if re.fullmatch(r"step-\d{8,}", p.name))


def begin(out: Path) -> None:
    """Create a run's folder and record its torchrun. Raises InputError if the folder cannot be written to."""
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out / FOLDER).close()
    except OSError as error:
        raise InputError(f"--out {out}: expected a folder to write to, got: {error.strerror}") from None
    write_atomically(out / LAUNCH, os.environ.get(RUN_ID, "").encode())  # another rank may be reading it


def is_restart(out: Path) -> bool:
    """Whether torchrun restarted this process after a rank of the run in `out` died, and not after an input error."""
    again, mine = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0, out / LAUNCH
    return again and mine.exists() and mine.read_text() == os.environ.get(RUN_ID)


def save_training(
    out: Path,
    learner: Learner,
    progress: TrainingProgress,
    config: TrainConfig,
    position: dict[str, Any],
    knowledge: Knowledge,
    keep: int,
    keep_states: bool = True,
) -> Path:
    """Write a checkpoint, remove all but the last `keep`, and return its folder. All ranks must call this together.

    `position` is that of the stream, `knowledge` the moving average. Without `keep_states` a resumed run computes the
    states of its examples anew. Raises InputError if the checkpoint cannot be written.
    """
    ranks, final = learner.ranks, out / FOLDER / f"step-{progress.step:08d}"
    partial = final.with_name(final.name + ".partial")
    if ranks.rank == 0:
        for left in final.parent.glob("*.partial"):  # of a killed run
            shutil.rmtree(left, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{partial}: expected to write a checkpoint, got: {error.strerror}") from None
    ranks.wait()
    write_tensors(partial / f"slots-{ranks.rank}.safetensors", _slot_tensors(learner, keep_states))
    if ranks.rank == 0:
        save_knowledge(partial, knowledge)
        tensors = {"generator": learner.generator.get_state()}
        for name, parameter in _parameters(learner).items():
            tensors["raw." + name] = parameter.detach().contiguous()
            for part, moment in learner.optimizer.state[parameter].items():
                tensors[f"{part}.{name}"] = moment
        write_tensors(partial / TENSORS, tensors)
        counts = {
            "progress": asdict(progress),
            "stream": position,
            "config": asdict(config),
            "optimizer_steps": [learner.step_count, *(group["step"] for group in learner.optimizer.param_groups)],
            "scaler": learner.scaler.state_dict(),
            "code": code_digest(),
        }
        write_atomically(partial / COUNTS, orjson.dumps(counts, default=str, option=orjson.OPT_INDENT_2))
    ranks.wait()
    if ranks.rank == 0:
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
        for old in checkpoints(out)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    ranks.wait()
    return final


class Damaged(InputError):
    """A checkpoint that is not whole. Another run's raises a plain InputError."""


@contextmanager
def _undamaged(folder: Path) -> Iterator[None]:
    hint = "remove the folder to resume from the one before, or choose another --out"
    try:
        yield
    except InputError as error:
        raise Damaged(f"{error}: {hint}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise Damaged(f"{folder}: expected a checkpoint of this run, got {shown(str(error))}: {hint}") from error


def resume_training(
    out: Path, learner: Learner, stream: Stream, progress: TrainingProgress, config: TrainConfig
) -> TrainingProgress:
    """Load the newest checkpoint that is whole. Raises InputError if none is, and as `load_training` does."""
    found = checkpoints(out)
    for folder in reversed(found):
        try:
            return load_training(folder, learner, stream, progress, config)
        except Damaged as error:
            if folder == found[0]:
                raise
            log.warning("%s; resuming from the one before", error)
    raise InputError(f"{out}: expected a checkpoint, got none")


def load_training(
    folder: Path, learner: Learner, stream: Stream, progress: TrainingProgress, config: TrainConfig
) -> TrainingProgress:
    """Load a checkpoint, written by any number of ranks, into a learner and a stream. Returns its progress.

    Settings and code that have changed since then are logged. Raises Damaged if the folder is incomplete, and
    InputError if it belongs to another run: another model, data or seed.
    """
    with _undamaged(folder):
        counts, saved = _read_counts(folder)
    for what in ("data", "seed"):
        mine, theirs = getattr(progress, what), getattr(saved, what)
        if mine != theirs:
            hint = f"resume with the same --data and settings ({MANIFEST} lists them), or choose another --out"
            raise InputError(f"{folder}: {what}: expected {theirs}, with which the run began, got {mine}: {hint}")
    with _undamaged(folder):
        _log_changes(counts["config"], orjson.loads(orjson.dumps(asdict(config), default=str)), folder)
        if counts.get("code") != code_digest():
            log.warning("%s was written by other code", folder)
        average = load_knowledge(folder, learner.table.device)
    ours, other = asdict(learner.model.config), asdict(average.model.config)
    if ours != other:
        differing = [name for name in ours if ours[name] != other[name]]
        words = (", ".join(f"{name} {part[name]}" for name in differing) for part in (ours, other))
        raise InputError(f"{folder}: expected this run's model, {next(words)}, got {next(words)}")
    with _undamaged(folder):
        _restore_learner(learner, average, read_tensors(folder / TENSORS))
        learner.step_count, *group_steps = counts["optimizer_steps"]
        for group, steps in zip(learner.optimizer.param_groups, group_steps, strict=True):
            group["step"] = steps
        if counts["scaler"]:
            learner.scaler.load_state_dict(counts["scaler"])
        _restore_slots(folder, learner)
        stream.seek(counts["stream"])
    saved.restarts += 1
    return saved


def _read_counts(folder: Path) -> tuple[dict[str, Any], TrainingProgress]:
    counts, names = read_json(folder / COUNTS), {field.name for field in fields(TrainingProgress)}
    found = counts.get("progress") if isinstance(counts, dict) else None
    if not isinstance(counts, dict) or not isinstance(found, dict) or found.keys() != names:
        wanted = f"the progress of a run ({', '.join(sorted(names))})"
        raise InputError(f"{folder / COUNTS}: expected {wanted}, got {shown(counts)}")
    for name, value in found.items():
        if name == "data" or (name, value) == ("first_loss", None):
            continue
        kinds = (int,) if name in ("seed", "step", "restarts") else (int, float)
        if type(value) not in kinds or value < 0:
            raise fault(f"{folder / COUNTS}: {name}", "a number, 0 or more", value)
    if folder.name != f"step-{found['step']:08d}":
        raise fault(f"{folder / COUNTS}: step", f"that of {folder.name}", found["step"])
    return counts, TrainingProgress(**found)


def _log_changes(before: dict[str, Any], now: dict[str, Any], where: Path, prefix: str = "") -> None:
    """Log every setting that has changed: from here on the run differs from the one that began."""
    for name, value in now.items():
        old = before.get(name, value)
        if isinstance(value, dict) and isinstance(old, dict):
            _log_changes(old, value, where, f"{prefix}{name}.")
        elif old != value and prefix + name != "steps":
            log.warning("%s was written with %s%s %s, now %s", where, prefix, name, old, value)


def _parameters(learner: Learner) -> dict[str, torch.nn.Parameter]:
    """Everything that the optimizer updates, by name."""
    rows = {"table": learner.table} if learner.config.row_optimizer == "adam_atan2" else {}
    return {**dict(learner.model.named_parameters()), **rows}


@torch.no_grad()
def _restore_learner(learner: Learner, average: Knowledge, tensors: dict[str, Tensor]) -> None:
    learner.generator.set_state(tensors["generator"])
    trunk, table = learner.averaged()
    trunk.load_state_dict(average.model.state_dict())
    table.copy_(average.table)
    learner.model.load_state_dict(average.model.state_dict())  # for the buffers; parameters follow
    for name, parameter in _parameters(learner).items():
        parameter.copy_(tensors["raw." + name])
        if "m." + name in tensors:
            kept = [part for part in MOMENTS["adam_atan2"] if f"{part}.{name}" in tensors]
            moments = {part: tensors[f"{part}.{name}"].clone().to(parameter.device) for part in kept}
            learner.optimizer.state[parameter] = moments


def _slot_tensors(learner: Learner, keep_states: bool) -> dict[str, Tensor]:
    """The examples in this rank's slots and how far they are, and the states of those that no draw replaces."""
    examples: dict[str, Tensor] = {}
    for (height, width), slots in learner.slots.items():
        if slots.batch is None or slots.state is None or slots.batch.packing is not None:
            continue  # packed ones have all halted
        named = dict(zip(_SLOT_PARTS, (*slots.batch[:-1], slots.steps, slots.halted), strict=True))
        if keep_states:
            named |= {name: part[~slots.halted] for name, part in slots.state._asdict().items()}
        examples |= {f"{height}x{width}.{name}": part.contiguous() for name, part in named.items()}
    return examples


def _restore_slots(folder: Path, learner: Learner) -> None:
    """Load this rank's share of the slots, written by any number of ranks; states that are not there are computed."""
    paths = sorted(folder.glob("slots-*.safetensors"), key=lambda path: int(path.stem.partition("-")[2]))
    files, device = [read_tensors(path) for path in paths], learner.table.device
    learner.slots.clear()
    for name in files[0]:
        prefix, _, first = name.partition(".")
        if first != _SLOT_PARTS[0]:
            continue
        parts = [torch.cat([file[f"{prefix}.{part}"] for file in files]) for part in _SLOT_PARTS]
        total, going = len(parts[0]), ~parts[-1]
        mine = learner.ranks.share(total)
        inputs, labels, ids, symmetry, steps, halted = (part[mine].clone().to(device) for part in parts)
        height, width = (int(side) for side in prefix.split("x"))
        state = State(*(part.clone() for part in learner.model.fresh_state(len(steps), (height, width))))
        learner.slots[height, width] = Slots(total, steps, halted, Batch(inputs, labels, ids, symmetry), state)
        if f"{prefix}.{State._fields[0]}" not in files[0]:
            learner.recompute_states((height, width))
            continue
        for part, field in zip(state, State._fields, strict=True):
            saved = torch.cat([file[f"{prefix}.{field}"] for file in files])
            if len(saved) == total:  # older checkpoints have those of all slots
                saved = saved[going]
            first_going, end = (int(going[:place].sum()) for place in (mine.start, mine.stop))
            part[~halted] = saved[first_going:end].to(device)
