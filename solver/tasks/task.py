"""A task: demonstration pairs, test inputs and, if known, test outputs; and lists of pairs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

import numpy as np

from kernels.canvas import PackedGrids, pack, unpack
from kernels.symmetry import COLOURS, PERMUTED
from solver.common.checks import Grid, InputError, check_id, fault, parse_grid, shown

DIGEST_LENGTH = 16  # hexadecimal characters; 64 bits are enough for thousands of tasks


@dataclass(frozen=True, eq=False)
class Pair:
    """An input grid and its output grid. Both are stored as read-only copies."""

    input: Grid  # (height, width)
    output: Grid | None  # (height, width), often of another size; None if unknown

    def __post_init__(self) -> None:
        object.__setattr__(self, "input", _frozen(self.input))
        if self.output is not None:
            object.__setattr__(self, "output", _frozen(self.output))

    def __eq__(self, other: object) -> bool:
        return self._content() == other._content() if isinstance(other, Pair) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content())

    def _content(self) -> tuple[bytes, ...]:
        return tuple(_content(grid) for grid in (self.input, self.output) if grid is not None)


class StoredPairs(Sequence[Pair]):
    """N pairs with known outputs as arrays, which may be mapped from a file: a Pair is made when it is asked for.

    Grid 2 i is the input of pair i, grid 2 i + 1 its output.
    """

    def __init__(self, grids: PackedGrids) -> None:
        """`grids`: 2 N of them; their cells may be part of a larger array."""
        self.grids = grids

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> "StoredPairs":
        """The same pairs as arrays in memory; all outputs must be known."""
        if isinstance(pairs, cls):
            return pairs
        return cls(pack([grid for pair in pairs for grid in (pair.input, pair.output) if grid is not None]))

    def __len__(self) -> int:
        return len(self.grids.start) // 2

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        place = range(len(self))[index]
        return Pair(unpack(self.grids, 2 * place), unpack(self.grids, 2 * place + 1))

    def select(self, index: np.ndarray) -> "StoredPairs":
        """The pairs `index` (K,), or where a mask (N,) is true. Their cells are not copied."""
        cells, *columns = self.grids
        return StoredPairs(PackedGrids(cells, *(column.reshape(-1, 2)[index].ravel() for column in columns)))

    @property
    def sizes(self) -> np.ndarray:
        """(N, 4): height and width of the input, then of the output."""
        return np.stack([self.grids.height, self.grids.width], axis=1).reshape(-1, 4)

    def colour_counts(self) -> np.ndarray:
        """(N, 2, 10): how many cells of each colour the input and the output have."""
        cells, start, height, width = self.grids
        area = height.astype(np.int64) * width
        first = np.cumsum(area) - area
        place = np.arange(area.sum()) + np.repeat(start - first, area)
        code = COLOURS * np.repeat(np.arange(len(area)), area) + cells[place]
        return np.bincount(code, minlength=COLOURS * len(area)).reshape(-1, 2, COLOURS)

    def of_each_size(self) -> tuple["StoredPairs", np.ndarray]:
        """One pair for each combination of sizes, and (N,) which of them has the sizes of a pair."""
        code = self.sizes.astype(np.int64) @ (1 << 15, 1 << 10, 1 << 5, 1)  # sides are at most 30
        _, first, kind = np.unique(code, return_index=True, return_inverse=True)
        return self.select(first), kind


@dataclass(frozen=True)
class Task:
    """One ARC task. Tasks are equal if their ids and grids are."""

    id: str
    train: tuple[Pair, ...]  # demonstrations, at least one, all with outputs
    test: tuple[Pair, ...]  # at least one

    def __post_init__(self) -> None:
        if not self.train or not self.test or any(pair.output is None for pair in self.train):
            raise ValueError(f"task {self.id!r}: expected a demonstration with its output and a test input")

    @cached_property
    def digest(self) -> str:
        """Of the demonstrations, without the id: embeddings of another task with the same id are never used."""
        content = b"".join(part for pair in self.train for part in pair._content())
        return hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]


def permuted_colours(pairs: Sequence[Pair], policy: str) -> tuple[int, ...]:
    """The colours that the variants of a task with these demonstrations permute; `policy` is a ColourPolicy.

    With "inputs", a colour that outputs show and no input does keeps its place: the rule names it, and a network that
    does not see the permutation cannot produce its image. Example: black and blue in, black and red out; red stays,
    while blue and the seven others are permuted.
    """
    if policy != "inputs":
        return PERMUTED if policy == "all" else ()
    seen, named = StoredPairs.of(pairs).colour_counts().sum(axis=0).tolist()
    return tuple(colour for colour in PERMUTED if seen[colour] or not named[colour])


def shown_colours(*lists: Sequence[Pair]) -> list[int]:
    """The colours of any grid of some pairs. Permutations that treat these alike give the same grids."""
    shown = sum(StoredPairs.of(pairs).colour_counts().sum(axis=(0, 1)) for pairs in lists)
    return np.flatnonzero(shown).tolist()


def without_test_outputs(task: Task) -> Task:
    """The task as the solver may see it."""
    return replace(task, test=tuple(Pair(pair.input, None) for pair in task.test))


def largest_side(content: Task | Sequence[Pair]) -> int:
    """The largest height or width of any grid of a task or of some pairs, known outputs included."""
    pairs = (*content.train, *content.test) if isinstance(content, Task) else content
    return max(max(grid.shape) for pair in pairs for grid in (pair.input, pair.output) if grid is not None)


def to_challenge(task: Task) -> dict[str, Any]:
    """The task as in a challenges file: demonstration pairs and test inputs."""
    pairs = [(pair.input.tolist(), pair.output.tolist()) for pair in task.train if pair.output is not None]
    train = [{"input": source, "output": output} for source, output in pairs]
    return {"train": train, "test": [{"input": pair.input.tolist()} for pair in task.test]}


def parse_task(task_id: object, document: object, where: str) -> Task:
    """The task in {"train": [{"input", "output"}, ...], "test": [{"input", and "output" if known}, ...], other keys}.

    Raises InputError that begins with `where` and names task and pair.
    """
    name = check_id(task_id, where)
    where = f"{where}: task {shown(name)}"
    if not isinstance(document, dict):
        raise fault(where, 'an object with "train" and "test"', document)
    parts = []
    for key in ("train", "test"):
        if key not in document:
            raise InputError(f"{where}: {key}: expected a list of pairs, got none")
        items = document[key]
        if not isinstance(items, list) or not items:
            raise fault(f"{where}: {key}", "a list of at least one pair", items)
        parts.append(tuple(_parse_pair(item, f"{where}: {key}[{index}]") for index, item in enumerate(items)))
    for index, pair in enumerate(parts[0]):
        if pair.output is None:
            raise InputError(f"{where}: train[{index}].output: expected a grid, got none")
    return Task(name, parts[0], parts[1])


def _parse_pair(item: object, where: str) -> Pair:
    if not isinstance(item, dict):
        raise fault(where, 'a pair (an object with "input" and "output")', item)
    if "input" not in item:
        raise InputError(f"{where}.input: expected a grid, got none")
    output = item.get("output")
    return Pair(
        parse_grid(item["input"], f"{where}.input"),
        None if output is None else parse_grid(output, f"{where}.output"),
    )


def _frozen(grid: Grid) -> Grid:
    """A read-only copy, so that the caller's array cannot change the task."""
    if grid.dtype != np.uint8 or grid.ndim != 2:  # a bug; untrusted grids go through `parse_grid`
        raise ValueError(f"grid: expected uint8 (height, width), got {grid.dtype} {grid.shape}")
    copy = grid.copy(order="C")
    copy.setflags(write=False)
    return copy


def _content(grid: Grid) -> bytes:
    """Shape and cells, so that 2x3 and 3x2 grids of the same cells differ."""
    height, width = grid.shape
    return b"%dx%d:" % (height, width) + grid.tobytes()
