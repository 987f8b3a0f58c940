"""Sets of square puzzles as tokens: generation without repeats, and a train/test split without related puzzles.

Letters: K puzzles, (H, W) their grid. Token 0 is padding in every vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from solver.common.checks import InputError, at_least

Augment: TypeAlias = Callable[[np.ndarray, np.ndarray, np.random.Generator], Sequence[np.ndarray]]
"""(inputs (K, H, W), labels (K, H, W), generator) -> copies of both, each sample under a random transformation."""

Attempt: TypeAlias = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Slots (n,) -> inputs (n, H, W), labels (n, H, W), usable (n,) bool: one attempt at a puzzle per slot."""

_BATCH = 1024  # puzzles attempted at a time
_PATIENCE = 2000  # consecutive failed attempts after which a request counts as impossible


@dataclass(frozen=True, eq=False)
class Puzzles:
    """K puzzles of one shape, each with its answer. Raises InputError if the fields do not match each other."""

    inputs: np.ndarray  # (K, H, W) uint8 tokens, all below `vocabulary`
    labels: np.ndarray  # (K, H, W) uint8 tokens, likewise
    vocabulary: int

    def __post_init__(self) -> None:
        for name, tokens in (("inputs", self.inputs), ("labels", self.labels)):
            if tokens.ndim != 3 or tokens.dtype != np.uint8:
                got = f"{tokens.dtype} of shape {tokens.shape}"
                raise InputError(f"puzzles: {name}: expected uint8 tokens of shape (K, H, W), got {got}")
            if tokens.size and tokens.max() >= self.vocabulary:
                raise InputError(f"puzzles: {name}: expected tokens below {self.vocabulary}, got {tokens.max()}")
        if self.inputs.shape != self.labels.shape:
            raise InputError(f"puzzles: labels: expected shape {self.inputs.shape}, got {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.inputs)

    def at(self, index: np.ndarray | slice) -> "Puzzles":
        """The selected puzzles, in that order; `index` is an integer or boolean array, or a slice."""
        return Puzzles(self.inputs[index], self.labels[index], self.vocabulary)


def row_keys(tokens: np.ndarray) -> np.ndarray:
    """(K,) byte strings, equal exactly where the grids (K, H, W) uint8 are equal."""
    length = math.prod(tokens.shape[1:])
    return np.ascontiguousarray(tokens).reshape(len(tokens), length).view(f"S{length}")[:, 0]


def draw_distinct(
    count: int, side: int, attempt: Attempt, what: Callable[[np.ndarray], str]
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels (count, side, side) of puzzles with distinct questions.

    A slot whose attempt failed or repeated an earlier question is tried again. Raises InputError after 2000 consecutive
    attempts without a new puzzle; the message begins with `what(slots)` of the slots that are still empty.
    """
    at_least("count", count, 1)
    inputs, labels = np.zeros((2, count, side, side), dtype=np.uint8)
    waiting, seen, fruitless = np.arange(count), set[bytes](), 0
    while len(waiting):
        slots = waiting[:_BATCH]
        questions, answers, usable = attempt(slots)
        before = len(seen)
        for number in np.flatnonzero(usable):  # a set is faster than sorting all keys each time
            size = len(seen)
            seen.add(questions[number].tobytes())
            usable[number] = len(seen) > size
        inputs[slots[usable]], labels[slots[usable]] = questions[usable], answers[usable]
        fruitless = 0 if len(seen) > before else fruitless + len(slots)
        if fruitless >= _PATIENCE:
            expected = f"{len(waiting)} more, unlike the {len(seen)} found"
            raise InputError(f"{what(waiting)}: expected {expected}, got none in {fruitless} attempts")
        waiting = np.concatenate([waiting[len(slots) :], slots[~usable]])
    return inputs, labels


def split_families(
    puzzles: Puzzles, families: np.ndarray, test_count: int, generator: np.random.Generator
) -> tuple[Puzzles, Puzzles]:
    """(train, test) such that no family is in both; `test_count` puzzles in the test part.

    `families` (K,) holds a key per puzzle. Whole families are drawn for the test part. Puzzles of the last one beyond
    `test_count` are dropped. Raises InputError if nothing is left to train on, or if a question is in two families.
    """
    at_least("test-count", test_count, 1)
    _, family = np.unique(families, return_inverse=True)
    _, first, question = np.unique(row_keys(puzzles.inputs), return_index=True, return_inverse=True)
    if (family[first[question]] != family).any():
        raise InputError("split: expected one answer to every question, got two to the same one")
    rank = generator.permutation(family.max(initial=0) + 1)[family]  # (K,) of each puzzle's family, in random order
    chosen = np.argsort(rank, kind="stable")[:test_count]
    rest = np.flatnonzero(rank > rank[chosen].max(initial=-1))
    if len(chosen) < test_count or not len(rest):
        got = f"{len(puzzles)} of {family.max(initial=-1) + 1} families"
        raise InputError(f"split: expected puzzles for a test of {test_count} and some to train on, got {got}")
    return puzzles.at(rest), puzzles.at(chosen)
