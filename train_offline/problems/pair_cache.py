"""Large corpora on disk: the pairs of many tasks as arrays, made once and then mapped, so that memory holds no grid."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from kernels.canvas import PackedGrids
from solver.common.checks import InputError
from solver.common.files import file_name, read_json
from solver.tasks.task import StoredPairs

CELLS, INDEX, MANIFEST = "cells.bin", "index.npz", "manifest.json"
FORMAT = 1  # part of every key; another layout of the files gets another number

Tasks = Iterable[tuple[str, StoredPairs]]
"""Ids, each once, and pairs, at least one."""


@dataclass(frozen=True)
class Corpus:
    """Pairs by task id, and what a training manifest says about them: what they were made from, number and digest."""

    tasks: Mapping[str, StoredPairs]
    about: dict[str, Any]


class PairCache:
    """A folder of corpora, each in a folder of its own, which is named after the digest of its key."""

    def __init__(self, folder: Path | None = None) -> None:
        """None: the user's folder for caches."""
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        self._folder = (folder or Path(caches) / "arc-trm").expanduser()

    def get(self, key: dict[str, Any], make: Callable[[Path], Tasks]) -> Corpus:
        """The corpus with that key; made first if it is not there.

        `make` gets a folder in which it can keep what an interrupted run should not have to make again. Processes that
        ask for the same corpus wait for the first. Raises InputError if the folder cannot be written or was changed.
        """
        key = {"format": FORMAT, **key}
        name = hashlib.sha256(orjson.dumps(key, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
        folder, parts = self._folder / name, self._folder / f"{name}.parts"
        try:
            parts.mkdir(parents=True, exist_ok=True)
            with (parts / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (folder / MANIFEST).is_file():
                    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
                    folder.mkdir()
                    _write(folder, make(parts), key)
            shutil.rmtree(parts, ignore_errors=True)
            return _open(folder)
        except OSError as error:
            got = error.strerror or str(error)
            raise InputError(f"{file_name(folder)}: expected a cache that can be written, got: {got}") from error


def _write(folder: Path, tasks: Tasks, key: dict[str, Any]) -> None:
    ids, counts, sizes = [], [], []
    with (folder / CELLS).open("wb") as file:
        for task_id, pairs in tasks:
            file.writelines(_cells(pairs))
            ids.append(task_id)
            counts.append(len(pairs))
            sizes.append(pairs.sizes.astype(np.uint8))
    np.savez(folder / INDEX, counts=np.array(counts), sizes=np.concatenate([np.empty((0, 4), np.uint8), *sizes]))
    manifest = {"key": key, "tasks": ids, "pairs": sum(counts), "digest": _digest(folder)}
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest))  # last: a folder without it is not complete


def _cells(pairs: StoredPairs) -> Iterator[bytes]:
    grids = pairs.grids
    for start, height, width in zip(grids.start, grids.height, grids.width, strict=True):
        yield grids.cells[start : start + int(height) * int(width)].tobytes()


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CELLS, INDEX):
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _open(folder: Path) -> Corpus:
    manifest: Any = read_json(folder / MANIFEST, most=1 << 30)
    if _digest(folder) != manifest["digest"]:
        raise InputError(f"{file_name(folder)}: expected the files as they were written, got others: delete the folder")
    with np.load(folder / INDEX, allow_pickle=False) as index:
        counts, sizes = index["counts"], index["sizes"]
    about = {"key": manifest["key"], "pairs": manifest["pairs"], "digest": manifest["digest"]}
    if not len(counts):
        return Corpus({}, about)
    height, width = sizes.reshape(-1, 2).astype(np.int32).T.copy()
    area = height.astype(np.int64) * width
    # A plain array on the mapped memory: numba would compile its kernels anew for a memmap. Not "r": torch warns of
    # arrays that cannot be written.
    cells = np.asarray(np.memmap(folder / CELLS, np.uint8, "c"))
    start, first = np.cumsum(area) - area, 2 * (np.cumsum(counts) - counts)
    tasks = {}
    for task_id, low, count in zip(manifest["tasks"], first.tolist(), counts.tolist(), strict=True):
        part = slice(low, low + 2 * count)
        tasks[task_id] = StoredPairs(PackedGrids(cells, start[part], height[part], width[part]))
    return Corpus(tasks, about)
