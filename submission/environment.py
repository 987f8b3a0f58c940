"""Find Kaggle's input in either of its layouts, weights and devices."""

import contextlib
import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from solver.common.checks import InputError, fault
from solver.common.clock import Clock, format_duration

ROOT = "KAGGLE_ROOT"  # environment variable: replaces /kaggle on other machines
RERUN = "KAGGLE_IS_COMPETITION_RERUN"  # environment variable, set in the scored run only
TEST = "arc-agi_test_challenges.json"
EVALUATION = ("arc-agi_evaluation_challenges.json", "arc-agi_evaluation_solutions.json")
SAMPLE = "sample_submission.json"
WEIGHTS = ("model.safetensors", "config.json", "puzzles.json")  # the files of a weights folder
PROBE = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
PROBE_SECONDS = 120  # at most; the first import of torch from a cold disk takes a minute
SEARCH_SECONDS = 60  # at most, for weights among the attached datasets
SHARE = 0.3  # of a short budget that the search may take

log = logging.getLogger("arc_trm")


@dataclass(frozen=True)
class Environment:
    """The folders of a run on Kaggle."""

    input: Path  # the competition's files
    test: Path  # of these, the challenges file to solve
    working: Path  # the only folder that Kaggle keeps
    attached: Path  # the folder of everything that is mounted
    scored: bool  # the scored run; otherwise a rehearsal


def find_environment(input: Path | None, working: Path | None) -> Environment:
    """Use the given folders and find the others under /kaggle. Raises InputError if there is no test file."""
    root = Path(os.environ.get(ROOT, "/kaggle"))
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
    return Environment(input, input / TEST, working or root / "working", root / "input", bool(os.environ.get(RERUN)))


def find_weights(attached: Path, clock: Clock) -> list[Path]:
    """The weights folders among the attached datasets, nearest first, as far as a part of the clock allows."""
    clock = clock.part(min(SEARCH_SECONDS, SHARE * clock.left()))
    found = []
    for place in _folders(attached):
        if clock.expired():
            limit = format_duration(clock.limit)
            log.error("weights: expected to search %s in %s, got no further than %s", attached, limit, place)
            break
        if all(os.path.isfile(place / name) for name in WEIGHTS):  # noqa: PTH113 (is_file may raise)
            found.append(place)
    if len(found) > 1:
        log.warning("weights: %d folders hold some, and --weights was not given; %s comes first", len(found), found[0])
    return found


def find_devices(asked: Sequence[str] = ("auto",), left: float = math.inf) -> list[str]:
    """The devices asked for, or every CUDA card, or else the CPU. Raises InputError for other names.

    To find the cards takes a quarter of the `left` seconds of the run at most.
    """
    if list(asked) != ["auto"]:
        for name in asked or [""]:
            if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
                raise fault("--devices", "auto, cpu or cards such as cuda:0", name)
        return list(asked)
    limit = min(PROBE_SECONDS, max(0.0, left / 4))
    try:
        probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, timeout=limit, check=True)
        cards = int(probe.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        log.error("devices: could not ask torch for cards (%s); taking the CPU", type(error).__name__)
        cards = 0
    return [f"cuda:{number}" for number in range(cards)] or ["cpu"]


def _folders(top: Path) -> Iterator[Path]:
    """A folder and those below it, nearest first, links included; each real folder once, so that no link can loop."""
    seen, level = set[Path](), [top]
    while level:
        below: list[Path] = []
        for place in level:
            if (real := place.resolve()) in seen:
                continue
            seen.add(real)
            yield place
            with contextlib.suppress(OSError):  # a folder that cannot be read has no weights for us
                below += [child for child in place.iterdir() if child.is_dir() and not child.name.startswith(".")]
        level = sorted(below)
