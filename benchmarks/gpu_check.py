"""`make gpu-check`: everything that a card should show, in one command under 9 minutes and one JSON file.

The tests that compare a card with the CPU, all benchmarks, then `arc1_hour` for five minutes. A part that fails is
recorded, and the others go on. `docs/gpu.py` draws the page of the file.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import orjson
import torch

from benchmarks.cli import Bench, measured
from benchmarks.measure import Setup
from solver.common.checks import one_line
from solver.common.files import write_atomically
from solver.model.device import pick_device, pick_precision
from solver.settings.config import DeviceName
from submission.logs import run_command
from train_offline.metrics import read_metrics

ROOT = Path(__file__).parent.parent
LIMIT = 530.0  # seconds of the whole check
TEST_SECONDS = 120.0  # at most
TRAIN_SECONDS = 300.0  # of training, less if the parts before took long
START_SECONDS = 45.0  # of a training run: importing, loading tasks, compiling, and the checkpoint at its end
CURVE_POINTS = 12
NO_EVALUATION = ("--evaluation.every", "None", "--evaluation.samples", "0")


@dataclass(frozen=True)
class Size:
    """What is run."""

    tests: tuple[str, ...]
    train: tuple[str, ...]  # arguments of `arc-trm train`
    timed: bool = True  # False: a smoke test, on however slow a machine


FULL = Size(("tests", "-n", "4"), ("arc1_hour", "--compile", "inductor", *NO_EVALUATION))
TINY_TRAINING = "sudoku4 --steps 2 --puzzle.count 50 --puzzle.test-count 5 --report-every 1"
TINY = Size(("tests/solver/tokens/test_variants.py",), (*TINY_TRAINING.split(), *NO_EVALUATION), timed=False)


def command(out: Path = ROOT / "docs" / "gpu.json", device: DeviceName = "cuda", tiny: bool = False) -> int:
    """Test and measure a card.

    Args:
        out: The JSON file.
        device: cpu runs the same on a CPU, which shows that the check itself works.
        tiny: Seconds of everything.
    """
    began, where = time.monotonic(), pick_device(device)
    size = TINY if tiny else FULL
    setup = Setup(where, pick_precision(where), quick=not size.timed)
    document: dict[str, Any] = {"machine": machine(where), "limit": LIMIT, "parts": {}}

    def add(name: str, part: Callable[[], dict[str, Any]]) -> None:
        start = time.monotonic()
        try:
            found = part()
        except Exception as error:  # whatever it is, the other parts are worth having
            found = {"error": f"{type(error).__name__}: {one_line(str(error))[:500]}"}
        found["seconds"] = round(time.monotonic() - start, 1)
        document["parts"][name] = found
        document["seconds"] = round(time.monotonic() - began, 1)
        write_atomically(out, orjson.dumps(document, option=orjson.OPT_INDENT_2))
        print(f"{name}: {found['seconds']} s{': ' + found['error'] if 'error' in found else ''}", flush=True)

    add("tests", lambda: tests(size, where.type))
    for bench in get_args(Bench):
        add(bench, lambda bench=bench: measured(bench, setup))  # type: ignore[misc]
        if where.type == "cuda":
            torch.cuda.empty_cache()
    left = LIMIT - (time.monotonic() - began) - START_SECONDS
    add("training", lambda: training(size, where.type, max(30.0, min(TRAIN_SECONDS, left))))
    return int(any("error" in part for part in document["parts"].values()))


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    found = {"device": device.type, "torch": torch.__version__, "cores": os.cpu_count()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "memory": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return found


def tests(size: Size, device: str) -> dict[str, Any]:
    """The tests that run on the device: how many passed, and which did not."""
    words = ["-m", "pytest", "-q", "-rfE", "-m", "not browser", "-k", device, *size.tests]
    lines = _run(words, TEST_SECONDS if size.timed else None, codes=(0, 1)).splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    result = {"result": lines[-1].strip("= "), "failed": failed}
    return {**result, "error": f"{len(failed)} tests failed"} if failed else result


def training(size: Size, device: str, seconds: float) -> dict[str, Any]:
    """A training run: its loss curve in a few points, and its speed."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "solver", "train", *size.train, "--out", folder, "--device", device]
        limit = ["--time-limit", f"{seconds:.0f}s"] if size.timed else []
        _run([*words, *limit], seconds + 3 * START_SECONDS if size.timed else None)
        lines = [line for line in read_metrics(Path(folder)) if "loss" in line]
    if not lines:
        raise RuntimeError("no step was reported")
    chosen = lines[:: -(-len(lines) // CURVE_POINTS)]
    keys = ("step", "seconds", "loss", "exact", "examples_per_second", "peak_share", "input_share")
    curve = [{key: line[key] for key in keys} for line in (*chosen[:-1], lines[-1])]
    return {"arguments": " ".join(size.train), "curve": curve}


def _run(words: Sequence[str], seconds: float | None, codes: Sequence[int] = (0,)) -> str:
    """The output of Python with these arguments. Raises RuntimeError with its end if the exit code is unexpected."""
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=seconds)
    if done.returncode not in codes:
        raise RuntimeError(f"exit code {done.returncode}: {(done.stdout + done.stderr).strip()[-400:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(run_command(command, "benchmarks.gpu_check"))
