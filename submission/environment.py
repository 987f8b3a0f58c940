"""What a machine offers, probed: Kaggle's input in either of its layouts, weights, devices. Imports no torch."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from solver.common.checks import InputError, shown

ROOT = "KAGGLE_ROOT"  # environment variable: a stand-in for /kaggle on other machines
RERUN = "KAGGLE_IS_COMPETITION_RERUN"  # set in the scored run, and only there
TEST = "arc-agi_test_challenges.json"
EVALUATION = ("arc-agi_evaluation_challenges.json", "arc-agi_evaluation_solutions.json")
SAMPLE = "sample_submission.json"
WEIGHTS = ("model.safetensors", "config.json", "puzzles.json")  # a folder with all of them holds weights of ours
DEEPEST = 6  # folders below the input in which weights are looked for
PROBE = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
PROBE_SECONDS = 120  # the first import of torch from a cold disk takes a minute

log = logging.getLogger("arc_trm")


@dataclass(frozen=True)
class Environment:
    """Where things are."""

    input: Path  # the competition's files
    working: Path  # the only folder that is kept
    weights: Path | None
    scored: bool  # the run that counts; everything else is a rehearsal

    @property
    def test(self) -> Path:
        """The tasks to solve."""
        return self.input / TEST


def kaggle_root() -> Path:
    """/kaggle, or what stands for it."""
    return Path(os.environ.get(ROOT, "/kaggle"))


def find_environment(input: Path | None, weights: Path | None, working: Path | None) -> Environment:
    """What is given, and for the rest what is found under the root. Raises InputError if there is no test file."""
    root = kaggle_root()
    if input is None:
        places = [folder for pattern in ("competitions/*", "*") for folder in sorted((root / "input").glob(pattern))]
        found = [folder for folder in places if (folder / TEST).is_file()]
        if not found:
            where = f"{root}/input/competitions/* or {root}/input/*"
            raise InputError(f"input: expected {TEST} in {where}, got none: attach the competition, or give --input")
        if len(found) > 1:
            log.warning("input: %d folders hold %s; the first is taken", len(found), TEST)
        input = found[0]
    elif not (input / TEST).is_file():
        raise InputError(f"--input {input}: expected a folder with {TEST}, got none")
    if weights is None:
        weights, *others = [*_weights(root / "input"), None]
        if len(others) > 1:
            log.warning("weights: %d folders hold some; %s is taken, as --weights was not given", len(others), weights)
    return Environment(input, working or root / "working", weights, bool(os.environ.get(RERUN)))


def find_devices(asked: Sequence[str] = ("auto",)) -> list[str]:
    """A name for each device to work on: what is asked for, or every CUDA card, or else the CPU.

    Cards are counted by another process, so that a broken driver costs a line in the log and not the run.
    """
    wrong = [name for name in asked if not re.fullmatch(r"cpu|cuda(:\d+)?", name)]
    if list(asked) != ["auto"] and (wrong or not asked):
        raise InputError(
            f"--devices: expected auto, cpu or cards such as cuda:0, got {shown(wrong[0] if wrong else '')}"
        )
    if list(asked) != ["auto"]:
        return list(asked)
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS, check=True
        )
        cards = int(probe.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        log.error("devices: could not ask torch for cards (%s); taking the CPU", type(error).__name__)
        cards = 0
    return [f"cuda:{number}" for number in range(cards)] or ["cpu"]


def _weights(folder: Path) -> Iterator[Path]:
    """Folders of weights, nearest first."""
    level = [folder]
    for _ in range(DEEPEST):
        yield from (place for place in level if all((place / name).is_file() for name in WEIGHTS))
        level = sorted(child for place in level for child in _folders(place))


def _folders(place: Path) -> list[Path]:
    try:
        return [child for child in place.iterdir() if child.is_dir() and not child.name.startswith(".")]
    except OSError:
        return []
