"""Variants of a task: the task under a symmetry and a colour permutation.

The k-th variant of a task depends only on (seed, task id, k), so every run and every rank makes the same ones, however
many it asks for. They are drawn on the host, where names and canvases need them: 400 tasks of 1,000 variants took 0.3
CPU seconds. The arithmetic is that of `kernels.draw`, which gives the same on any device. Letters: K variants.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kernels.draw import ROUNDS, permutation_columns, place_in_order
from kernels.symmetry import COLOURS, PERMUTED, SYMMETRIES, TRANSPOSES
from solver.common.checks import VARIANT_SEPARATOR


class Variants(NamedTuple):
    """K variants of one task, the identity first."""

    symmetry: np.ndarray  # (K,) uint8
    permutation: np.ndarray  # (K, 10) uint8: colour c becomes permutation[c]

    def __len__(self) -> int:  # the number of variants, not of fields
        return len(self.symmetry)

    def first(self, count: int) -> "Variants":
        """The first `count` of them, or all."""
        return Variants(self.symmetry[:count], self.permutation[:count])

    def followed_by(self, others: "Variants", shown: Sequence[int] = range(COLOURS)) -> "Variants":
        """These, then those of `others` that give the colours `shown` other places or another symmetry."""
        both = Variants(*(np.concatenate(columns) for columns in zip(self, others, strict=True)))
        content = np.column_stack([both.symmetry, both.permutation[:, list(shown)]])
        _, first = np.unique(content, axis=0, return_index=True)
        kept = np.union1d(np.arange(len(self)), first)
        return Variants(*(column[kept] for column in both))

    @property
    def transposes(self) -> np.ndarray:
        """(K,) bool: whether the variant swaps height and width."""
        return TRANSPOSES[self.symmetry]


def make_variants(
    task_id: str,
    count: int,
    seed: int,
    symmetries: bool = True,
    permuted: Sequence[int] = PERMUTED,
    shown: Sequence[int] = PERMUTED,
) -> Variants:
    """The identity, the other plain symmetries, then distinct random (symmetry, permutation) pairs.

    `count` in all, or as many as exist; the colours in `permuted` trade places, the others stay. Of the permutations
    that treat the colours `shown` alike, and so give the same grids, there is only one: a task of blue on black has 72
    variants. The plain symmetries come first because they change a task least and should vote first.
    """
    colours = sorted(permuted, key=lambda colour: (colour not in shown, colour))
    alike = math.factorial(sum(colour not in shown for colour in permuted))  # they follow each other in order
    permutations = math.factorial(len(permuted)) // alike
    plain = SYMMETRIES if symmetries else 1
    count = min(count, permutations * plain)
    ranks = permutations * np.arange(min(count, plain))
    if count > plain:
        # the same on every machine, unlike Python's `hash`
        digest = hashlib.sha256(f"{seed}|{task_id}".encode()).digest()
        key = np.frombuffer(digest[: 4 * ROUNDS], "<u4").tolist()
        drawn = place_in_order(np.arange(count - plain), key, plain * (permutations - 1))
        symmetry, permutation = np.divmod(drawn, permutations - 1)  # skips the identity permutation
        ranks = np.concatenate([ranks, symmetry * permutations + permutation + 1])
    symmetry, permutation = np.divmod(ranks, permutations)
    return Variants(symmetry.astype(np.uint8), permutation_of_rank(permutation * alike, colours))


def permutation_of_rank(ranks: np.ndarray, permuted: Sequence[int] = PERMUTED) -> np.ndarray:
    """The permutations (K, 10) of the colours `permuted`, by lexicographic ranks (K,); rank 0 is the identity."""
    permutation = np.tile(np.arange(COLOURS, dtype=np.uint8), (len(ranks), 1))
    colours = np.array(permuted, np.uint8)
    for colour, column in zip(permuted, permutation_columns(ranks, len(permuted)), strict=True):
        permutation[:, colour] = colours[column]
    return permutation


def variant_name(task_id: str, symmetry: int, permutation: np.ndarray) -> str:
    """The name in published checkpoints: the task id for the identity, else like `id|||t3|||0213456789`."""
    digits = "".join(str(colour) for colour in permutation)
    if symmetry == 0 and digits == "0123456789":
        return task_id
    return f"{task_id}|||t{symmetry}|||{digits}"


def task_of(name: str) -> str:
    """The task id in the name of a variant, `id` or `id|||t3|||0213456789`."""
    return name.partition(VARIANT_SEPARATOR)[0]


def parse_variant_name(name: str) -> tuple[int, list[int]] | None:
    """Symmetry and permutation in a published name, `id` or `id|||t3|||0213456789`; None for any other name."""
    parts = name.split(VARIANT_SEPARATOR)
    if len(parts) == 1:
        return 0, list(range(COLOURS))
    if len(parts) != 3 or parts[1] not in {f"t{symmetry}" for symmetry in range(SYMMETRIES)}:
        return None
    digits = [ord(digit) - ord("0") for digit in parts[2]]
    return (int(parts[1][1:]), digits) if sorted(digits) == list(range(COLOURS)) else None
