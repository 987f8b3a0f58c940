"""Random variants by number: the k-th of a task is computed from a key and k alone, on any device.

Plain integer arithmetic that numpy arrays and torch tensors do alike, so that every rank and every device draws the
same. Letters: K variants.
"""

import math
from collections.abc import Sequence
from typing import Any

ROUNDS = 8  # words of a key
WORD = 0xFFFFFFFF  # 32 bits: products with MULTIPLIER fit into int64
MULTIPLIER = 0x45D9F3B


def place_in_order(number: Any, key: Sequence[int], total: int) -> Any:
    """Items (K,) at the places `number` (K,) int64 of a random order of 0…total-1; distinct for distinct places.

    `key`: ROUNDS words of 32 bits that decide the order. A Feistel network on (row, column) permutes a rectangle that
    is hardly larger than `total`; what falls outside is permuted again until it is inside.
    """
    rows = math.isqrt(max(0, total - 1)) + 1
    columns = -(-total // rows)

    def permuted(item: Any) -> Any:
        row, column = item // columns, item % columns
        for first, second in zip(key[::2], key[1::2], strict=True):
            row = (row + _mixed(column, first)) % rows
            column = (column + _mixed(row, second)) % columns
        return row * columns + column

    item = permuted(number)
    while bool((outside := item >= total).any()):
        item = item + outside * (permuted(item) - item)
    return item


def permutation_columns(rank: Any, count: int) -> list[Any]:
    """The permutations of 0…count-1 at the lexicographic ranks (K,), as columns (K,): where each item goes."""
    columns: list[Any] = []
    for radix in range(1, count + 1):  # the last digit of the factorial number system first
        digit, rank = rank % radix, rank // radix
        columns = [digit, *(column + (column >= digit) for column in columns)]
    return columns


def _mixed(number: Any, word: int) -> Any:
    """A hash of `number` (K,) in 0…WORD."""
    for shift in (16, 15, 16):
        number = ((number ^ word ^ (number >> shift)) * MULTIPLIER) & WORD
    return number ^ (number >> 16)
