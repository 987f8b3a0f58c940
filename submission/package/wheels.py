"""The packages that an image lacks, pinned to the versions installed here, and their wheels."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from solver.common.checks import InputError, one_line
from submission.notebook import LOCK

NEEDED = ("numba", "numpy", "orjson", "safetensors", "torch", "tqdm", "tyro")
"""setup.cfg's install_requires, since an installed copy has no setup.cfg. A test compares them."""

LINUX = ("manylinux2014_x86_64", *(f"manylinux_2_{glibc}_x86_64" for glibc in (5, 12, 17, 24, 27, 28)))


class Image(NamedTuple):
    """What an image has. Its packages and their dependencies are used as they are: no wheel replaces them."""

    packages: Sequence[str]
    python: str | None = None  # None: the Python that makes the package
    platforms: Sequence[str] = ()  # of wheels; empty: this machine's


_KAGGLE = ("numba", "numpy", "torch", "tqdm")
IMAGES: Mapping[str, Image] = {
    "kaggle-2026": Image(_KAGGLE, "3.12", LINUX),
    "kaggle": Image(_KAGGLE),
    "bare": Image(()),
}


def lock(image: str, lacks: Sequence[str] | None = None, python_version: str | None = None) -> dict[str, str]:
    """Name -> installed version of every package that the image lacks, or of `lacks`. InputError if one is missing."""
    if lacks is None:
        everything, present = closure(NEEDED, python_version), closure(IMAGES[image].packages, python_version)
        return {name: everything[name] for name in sorted(everything.keys() - present.keys())}
    return {name: _version(name, "--lacks") for name in sorted(set(lacks))}


def closure(roots: Sequence[str], python_version: str | None = None) -> dict[str, str]:
    """Name -> installed version of packages and of their dependencies, transitively."""
    try:
        from packaging.requirements import Requirement  # optional package
        from packaging.utils import canonicalize_name
    except ImportError:
        raise InputError("package: expected the package packaging, got none: pip install packaging") from None
    full = {"python_version": python_version or "", "python_full_version": f"{python_version}.0"}
    target = full if python_version else {}
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(root), "", "this project") for root in roots]
    while waiting:
        name, extra, wanted_by = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = _version(name, wanted_by)
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({**target, "extra": extra}):
                child = canonicalize_name(requirement.name)
                waiting += [(child, wanted, name) for wanted in ("", *requirement.extras)]
    return found


def _version(name: str, wanted_by: str) -> str:
    try:
        return metadata.version(name)
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: an empty name
        wanted = f"the package {one_line(name)!r} to be installed here, to pin it"
        raise InputError(f"{wanted_by}: expected {wanted}, got none") from None


def download(folder: Path, python_version: str | None = None, platforms: Sequence[str] = ()) -> None:
    """Download the wheels of the lock file in `folder` into it, with this machine's pip settings. Raises InputError."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), "--requirement", str(folder / LOCK)]
    command += ["--python-version", python_version] if python_version else []
    for platform in platforms:
        command += ["--platform", platform]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()] or ["no word from pip"]
        errors = [line for line in lines if "ERROR" in line] or lines
        raise InputError(f"wheels: expected a wheel of every package in {LOCK}, got: {one_line(errors[-1])}")
