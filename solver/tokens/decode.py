"""Voting: predictions are decoded, their variants undone, and equal grids counted, on the device."""

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
                self._candidates[test][key] = Candidate(grid, votes, mean, weight=votes)
            else:
                known.add(votes, mean, weight=votes)

    def ranked(self, test: int) -> list[Candidate]:
        """The candidates of a test input, best first; each vote weighs 1."""
        return ranked(self._candidates[test].values())
