"""A simulated Kaggle: a folder tree like /kaggle, and processes in it without network and with read-only input."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from submission.package.build import digest

Layout = Literal["newer", "older"]
"""Kaggle's mount points: input/competitions/SLUG and input/datasets/USER/SLUG, or (older) input/SLUG."""

SPLITS = ("test", "evaluation", "training")
NOWHERE = "http://127.0.0.1:9"  # the discard port: no server
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
"""For `sh -c` in its own mount namespace: make folder $0 read-only, for root too, and run the command."""


class Isolation(NamedTuple):
    """How to start a process without network and with a read-only folder."""

    words: str
    prefix: tuple[str, ...]  # of the command
    environment: Mapping[str, str]


def isolation(folder: Path) -> Isolation:
    """The strictest isolation that this machine allows; `folder` must become read-only."""
    for unshare in (["unshare", "--net", "--mount"], ["unshare", "--map-root-user", "--net", "--mount"]):
        prefix = (*unshare, "sh", "-c", READ_ONLY, str(folder))
        probe = [*prefix, "sh", "-c", '! touch "$0/probe" 2>/dev/null', str(folder)]
        if shutil.which("unshare") and subprocess.run(probe, capture_output=True).returncode == 0:
            return Isolation(f"cut off by {' '.join(unshare)}: no network, input is mounted read-only", prefix, {})
    words = "unshare is not allowed here: proxies lead nowhere, input is read-only by its permissions alone"
    proxies = {f"{name}_proxy": NOWHERE for name in ("http", "https", "all")}
    upper = {name.upper(): value for name, value in proxies.items()}
    # Permissions do not stop root from writing caches beside the sources.
    caches = {"PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(folder.parent / "numba")}
    return Isolation(words, (), {**proxies, **upper, **caches, "PIP_NO_INDEX": "1"})


class SimulatedKaggle:
    """The folders input (the competition's files and the package's datasets) and working."""

    def __init__(
        self, root: Path, package: Path, about: Mapping[str, Any], challenges: Path, solutions: Path | None
    ) -> None:
        """`about`: the package's package.json. All splits of the competition get the same challenges and solutions."""
        self.root, self.input, self.working = root, root / "input", root / "working"
        self._package, self._about, self._challenges, self._solutions = package, about, challenges, solutions
        self._listing: dict[str, str] = {}

    def arrange(self, layout: Layout) -> int:
        """Rebuild the tree in this layout, with an empty working folder. Returns the number of files in input."""
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
        """The files in input that were added, removed or changed since `arrange`."""
        now = self._list()
        return sorted(name for name in now.keys() | self._listing.keys() if now.get(name) != self._listing.get(name))

    def _list(self) -> dict[str, str]:
        return {str(path.relative_to(self.input)): digest(path) for path in self.input.rglob("*")}


def _set_writable(folder: Path, writable: bool) -> None:
    """Set or clear the write permission of a folder and everything below."""
    for path in (folder, *folder.rglob("*")):
        if path.exists():
            path.chmod((0o755 if writable else 0o555) if path.is_dir() else (0o644 if writable else 0o444))
