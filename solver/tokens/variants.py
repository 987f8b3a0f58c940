"""Variants of a task: the task under a symmetry and a colour permutation.

The variants of a task depend only on (seed, task id), so every run and every rank makes the same ones.
Letters: K variants.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kernels.symmetry import COLOURS, PERMUTED, SYMMETRIES, TRANSPOSES


class Variants(NamedTuple):
    """K variants of one task, the identity first."""

    symmetry: np.ndarray  # (K,) uint8
    permutation: np.ndarray  # (K, 10) uint8: colour c becomes permutation[c]

    def __len__(self) -> int:  # the number of variants, not of fields
        return len(self.symmetry)

    @property
    def transposes(self) -> np.ndarray:
        """(K,) bool: whether the variant swaps height and width."""
        return TRANSPOSES[self.symmetry]


def make_variants(
    task_id: str, count: int, seed: int, symmetries: bool = True, permuted: Sequence[int] = PERMUTED
) -> Variants:
    """The identity, the other plain symmetries, then distinct random (symmetry, permutation) pairs.

    `count` in all, or as many as exist; the colours in `permuted` trade places, the others stay. The plain symmetries
    come first because they change a task least and should vote first.
    """
    permutations = math.factorial(len(permuted))
    plain = np.arange(SYMMETRIES if symmetries else 1) * permutations
    total = permutations * len(plain)
    count = min(count, total)
    ranks = plain[:count]
    if count > len(plain):
        # the same on every machine, unlike Python's `hash`
        digest = hashlib.sha256(f"{seed}|{task_id}".encode()).digest()
        generator = np.random.default_rng(int.from_bytes(digest[:16], "little"))
        chosen = generator.choice(total - len(plain), count - len(plain), replace=False)
        symmetry, permutation = np.divmod(chosen, permutations - 1)  # skips the identity permutation
        ranks = np.concatenate([ranks, symmetry * permutations + permutation + 1])
    return Variants((ranks // permutations).astype(np.uint8), permutation_of_rank(ranks % permutations, permuted))


def permutation_of_rank(ranks: np.ndarray, permuted: Sequence[int] = PERMUTED) -> np.ndarray:
    """The permutations (K, 10) of the colours `permuted`, by lexicographic ranks (K,); rank 0 is the identity."""
    remaining = np.tile(np.array(permuted, dtype=np.uint8), (len(ranks), 1))
    permutation = np.tile(np.arange(COLOURS, dtype=np.uint8), (len(ranks), 1))
    for place, colour in enumerate(permuted):
        digit, ranks = np.divmod(ranks, math.factorial(len(permuted) - 1 - place))
        permutation[:, colour] = np.take_along_axis(remaining, digit[:, None], axis=1)[:, 0]
        keep = np.arange(remaining.shape[1]) != digit[:, None]
        remaining = remaining[keep].reshape(len(ranks), -1)
    return permutation


def variant_name(task_id: str, symmetry: int, permutation: np.ndarray) -> str:
    """The name in published checkpoints: the task id for the identity, else like `id|||t3|||0213456789`."""
    digits = "".join(str(colour) for colour in permutation)
    if symmetry == 0 and digits == "0123456789":
        return task_id
    return f"{task_id}|||t{symmetry}|||{digits}"
