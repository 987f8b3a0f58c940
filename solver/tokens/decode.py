"""Voting: predicted tokens become grids, their variants are undone, and equal grids are counted, on the device."""

import torch

from kernels import tally_numba, tally_torch
from kernels.canvas import Decoder
from kernels.tally import DECODERS, restore
from solver.answers.votes import Candidate, ranked
from solver.predict import Predictions


class Ballot:
    """The votes for every test input; memory grows with distinct candidates, not with votes."""

    def __init__(self, tests: int) -> None:
        self._candidates: list[dict[int, Candidate]] = [{} for _ in range(tests)]

    def add(self, predictions: Predictions, decoder: Decoder = "robust") -> None:
        """Decode tokens to grids, undo their variants, and count equal grids."""
        samples, tokens, colours = predictions.samples, predictions.tokens, predictions.colours
        kernel = tally_numba if tokens.device.type == "cpu" else tally_torch
        counts = kernel.tally(
            tokens=tokens,
            colours=colours,
            symmetry=samples.symmetry,
            permutation=samples.permutation,
            group=samples.test,
            halting=predictions.halting.double(),
            decoder=decoder,
        )
        columns = (torch.as_tensor(column).tolist() for column in counts)
        for test, key, first, votes, mean in zip(*columns, strict=True):  # once per distinct grid, not once per vote
            known = self._candidates[test].get(key)
            if known is None:
                size = DECODERS[decoder](tokens[first : first + 1].cpu().numpy())[0]
                cells = colours[first].cpu().numpy()
                grid = restore(cells, size, samples.symmetry[first], samples.permutation[first])
                self._candidates[test][key] = Candidate(grid, votes, mean, weight=votes)
            else:
                known.add(votes, mean, weight=votes)

    def ranked(self, test: int) -> list[Candidate]:
        """The candidates of a test input, best first; each vote weighs 1."""
        return ranked(self._candidates[test].values())
