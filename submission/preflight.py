"""What a Kaggle machine has, as lines to print before the run. No probe here can fail or take long."""

import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from solver.common.checks import one_line

PACKAGES = ("torch", "numpy", "numba", "orjson", "safetensors", "tqdm", "tyro")
CARDS = ("nvidia-smi", "--query-gpu=index,name,memory.total,driver_version", "--format=csv,noheader")
CARD_SECONDS = 30.0
LEAST_GIB = 1.0  # free disk below which the lines warn; votes, weights and logs of a run need less


def machine(working: Path) -> list[str]:
    """Python and packages, cards with their driver, CPU cores, and the free disk of the working folder."""
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    return [
        f"python {platform.python_version()}: {', '.join(versions)}",
        *(f"card {line}" for line in _cards()),
        f"disk: {_disk(working)}",
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "MISSING: attach the package's wheels"


def _cards() -> list[str]:
    """Index, name, memory and driver of every card, as the driver says it; torch may be unable to use some."""
    try:
        done = subprocess.run(CARDS, capture_output=True, text=True, errors="replace", timeout=CARD_SECONDS, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        return [f"none ({CARDS[0]}: {type(error).__name__})"]
    return [one_line(line) for line in done.stdout.splitlines() if line] or ["none"]


def _disk(folder: Path) -> str:
    while not folder.exists():  # the run will create it
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free / 2**30
    except OSError as error:
        return f"unknown ({error.strerror})"
    return f"{free:.1f} GiB free in {folder}" + (f": EXPECTED {LEAST_GIB:g} or more" if free < LEAST_GIB else "")
