"""Voting: equal grids are counted, the two best become the attempts.

Counts first and halting probability only to break ties: on ARC the halting head does not tell right from wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kernels import tally_numba, tally_torch
from kernels.canvas import Decoder
from kernels.tally import DECODERS, restore
from solver.predict import Predictions
from solver.submission_file import Attempts
from solver.tasks import Task


@dataclass
class Candidate:
    """A grid that was predicted, and how often."""

    grid: np.ndarray  # (height, width), in the task's own symmetry and colours
    votes: int
    halting: float  # mean halting probability of its votes


class Ballot:
    """The votes for every test input; memory grows with distinct candidates, not with votes."""

    def __init__(self, tests: int) -> None:
        self._candidates: list[dict[int, Candidate]] = [{} for _ in range(tests)]

    def add(self, predictions: Predictions, decoder: Decoder = "robust") -> None:
        """Decode, undo the variants, and count."""
        samples, tokens, colours, halting, _ = predictions
        if tokens.device.type == "cpu":
            given = (tokens.numpy(), colours.numpy(), samples.symmetry, samples.permutation, samples.test)
            counts = tally_numba.tally(*given, halting.double().numpy(), decoder)
        else:
            test, _, symmetry, permutation = (torch.from_numpy(part).to(tokens.device) for part in samples)
            counts = tally_torch.tally(tokens, colours, symmetry, permutation, test, halting.double(), decoder)
        columns = (torch.as_tensor(column).tolist() for column in counts)
        for test, key, first, votes, mean in zip(*columns, strict=True):  # once a distinct grid, not once a vote
            known = self._candidates[test].get(key)
            if known is None:
                one = slice(first, first + 1)
                size = DECODERS[decoder](tokens[one].cpu().numpy())[0]
                variant = samples.symmetry[first], samples.permutation[first]
                grid = restore(colours[first].cpu().numpy(), size, *variant)
                self._candidates[test][key] = Candidate(grid, votes, mean)
            else:
                known.votes += votes
                known.halting += (mean - known.halting) * votes / known.votes

    def ranked(self, test: int) -> list[Candidate]:
        """The candidates of a test input: most votes first, then the highest mean halting probability."""
        return sorted(self._candidates[test].values(), key=lambda c: (-c.votes, -c.halting))


def fallbacks(task: Task, test_index: int) -> Attempts:
    """Two answers that need no model: the test input and the most common demonstration output.

    The likelier one first: the input if the demonstrations keep their size. They are also the baseline of the demo.
    """
    copy = task.test[test_index].input
    outputs = [pair.output for pair in task.train if pair.output is not None]
    common = max(outputs, key=lambda grid: sum(np.array_equal(grid, other) for other in outputs))
    keeps_size = all(pair.output is not None and pair.output.shape == pair.input.shape for pair in task.train)
    return (copy, common) if keeps_size else (common, copy)


def two_attempts(candidates: Sequence[Candidate], task: Task, test_index: int) -> Attempts:
    """The two best distinct candidates; fallbacks fill what is missing.

    The attempts differ whenever two distinct grids are known at all, fallbacks included.
    """
    grids: list[np.ndarray] = []
    for grid in (*(c.grid for c in candidates[:2]), *fallbacks(task, test_index)):
        if not any(np.array_equal(grid, known) for known in grids):
            grids.append(grid)
    return grids[0], grids[1] if len(grids) > 1 else grids[0]
