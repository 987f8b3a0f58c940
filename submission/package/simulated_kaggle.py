"""A folder that looks like Kaggle's, and a way to start a process in it that reaches no network and writes no input."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from submission.package.build import digest

Layout = Literal["newer", "older"]
"""Where Kaggle mounts what is attached: input/competitions/SLUG and input/datasets/USER/SLUG, or input/SLUG."""

SPLITS = ("test", "evaluation", "training")
NOWHERE = "http://127.0.0.1:9"  # the discard port, where nobody listens
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
"""For `sh -c`, in a mount namespace of its own: makes a folder read-only for what it then runs, root included."""


@dataclass(frozen=True)
class Isolation:
    """How to start a process apart from the network and from what it must not write."""

    words: str
    prefix: tuple[str, ...] = ()  # goes before the command
    environment: Mapping[str, str] = field(default_factory=dict)


def isolation(folder: Path) -> Isolation:
    """The strictest way that this machine allows; `folder` is what must not be written."""
    for unshare in (["unshare", "--net", "--mount"], ["unshare", "--map-root-user", "--net", "--mount"]):
        prefix = (*unshare, "sh", "-c", READ_ONLY, str(folder))
        if _allowed([*prefix, "sh", "-c", '! touch "$0/probe" 2>/dev/null', str(folder)]):
            return Isolation(f"cut off by {' '.join(unshare)}: no network, input is mounted read-only", prefix)
    words = "unshare is not allowed here: proxies lead nowhere, input is read-only by its permissions alone"
    proxies = {f"{name}_proxy": NOWHERE for name in ("http", "https", "all")}
    upper = {name.upper(): value for name, value in proxies.items()}
    # Permissions do not bind root, who would leave caches beside the sources.
    caches = {"PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(folder.parent / "numba")}
    return Isolation(words, (), {**proxies, **upper, **caches, "PIP_NO_INDEX": "1"})


def _allowed(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


class SimulatedKaggle:
    """The tree of a notebook's run: input, with the competition's files and the package's datasets, and working."""

    def __init__(
        self, root: Path, package: Path, about: Mapping[str, Any], challenges: Path, solutions: Path | None
    ) -> None:
        """`about` is the package's own record; the files of every split are these challenges and solutions."""
        self.root, self.input, self.working = root, root / "input", root / "working"
        self._package, self._about, self._challenges, self._solutions = package, about, challenges, solutions
        self._listing: dict[str, tuple[int, str]] = {}

    def arrange(self, layout: Layout) -> int:
        """Make the tree anew in this layout, with nothing in working; how many files it has."""
        for folder in (self.input, self.working):
            _set_writable(folder, True)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        slug = self._about["competition"]
        competition = self.input / "competitions" / slug if layout == "newer" else self.input / slug
        competition.mkdir(parents=True)
        for split in SPLITS:
            shutil.copyfile(self._challenges, competition / f"arc-agi_{split}_challenges.json")
            if self._solutions is not None and split != "test":
                shutil.copyfile(self._solutions, competition / f"arc-agi_{split}_solutions.json")
        for part, name in self._about["datasets"].items():
            home = self.input / "datasets" / name if layout == "newer" else self.input / Path(name).name
            shutil.copytree(self._package / part, home)
        _set_writable(self.input, False)
        self._listing = self._list()
        return len(self._listing)

    def changes(self) -> list[str]:
        """The names of what was added to, removed from or changed in input since `arrange`."""
        now = self._list()
        return sorted(name for name in now.keys() | self._listing.keys() if now.get(name) != self._listing.get(name))

    def _list(self) -> dict[str, tuple[int, str]]:
        return {
            str(path.relative_to(self.input)): (path.stat().st_mtime_ns, digest(path) if path.is_file() else "")
            for path in self.input.rglob("*")
        }


def _set_writable(folder: Path, writable: bool) -> None:
    """Give or take the right to write in a folder and all folders and files below."""
    for path in (folder, *folder.rglob("*")):
        if path.exists():
            path.chmod((0o755 if writable else 0o555) if path.is_dir() else (0o644 if writable else 0o444))
