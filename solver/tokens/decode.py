"""Voting: predicted tokens become grids, their variants are undone, and equal grids are counted, on the device."""

import numpy as np
import torch

from kernels import tally_numba, tally_torch
from kernels.canvas import Decoder
from kernels.symmetry import Array
from kernels.tally import Counts, restore
from solver.answers.votes import Candidate, ranked
from solver.predict import Predictions


class Ballot:
    """The votes for every test input; memory grows with distinct candidates, not with votes."""

    def __init__(self, tests: int) -> None:
        self._candidates: list[dict[int, Candidate]] = [{} for _ in range(tests)]

    def add(self, predictions: Predictions, decoder: Decoder = "robust") -> None:
        """Decode tokens to grids, undo their variants, and count equal grids."""
        samples, tokens = predictions.samples, predictions.tokens
        kernel = tally_numba if tokens.device.type == "cpu" else tally_torch
        counts, sizes, colours = _fetched(
            *kernel.candidates(
                tokens=tokens,
                colours=predictions.colours,
                symmetry=samples.symmetry,
                permutation=samples.permutation,
                group=samples.test,
                halting=predictions.halting.double(),
                decoder=decoder,
            )
        )
        columns = (column.tolist() for column in counts)
        for number, (test, key, first, votes, mean) in enumerate(zip(*columns, strict=True)):
            known = self._candidates[test].get(key)
            if known is None:
                grid = restore(colours[number], sizes[number], samples.symmetry[first], samples.permutation[first])
                self._candidates[test][key] = Candidate(grid, votes, mean, weight=votes)
            else:
                known.add(votes, mean, weight=votes)

    def ranked(self, test: int) -> list[Candidate]:
        """The candidates of a test input, best first; each vote weighs 1."""
        return ranked(self._candidates[test].values())


def _fetched(counts: Counts, sizes: Array, colours: Array) -> tuple[Counts, np.ndarray, np.ndarray]:
    """The K distinct grids as numpy arrays: sizes (K, 2), colours (K, H, W). One copy, however many there are."""
    if isinstance(counts.key, np.ndarray):
        return counts, sizes, np.asarray(colours)
    rows = [*counts[:-1], counts.halting.view(torch.int64), *sizes.long().unbind(1)]
    numbers = torch.stack(rows, dim=1).view(torch.uint8)  # (K, 7 * 8) bytes
    packed = torch.cat([numbers, colours.flatten(1)], dim=1).cpu()
    numbers, cells = packed.split([numbers.shape[1], packed.shape[1] - numbers.shape[1]], dim=1)
    group, key, first, votes, halting, *size = numbers.contiguous().numpy().view(np.int64).T
    counts = Counts(group, key, first, votes, halting.view(np.float64))
    return counts, np.stack(size, axis=1), cells.numpy().reshape(colours.shape)
