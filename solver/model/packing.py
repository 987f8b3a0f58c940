"""Samples on canvases of different sizes, packed end to end in one sequence, so that no token is padding.

Letters: B samples, G groups of samples on the same canvas, T tokens of all samples together, K size of one head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import Canvas
from kernels.upload import upload

PACKED: Canvas = (0, 0)
"""Stands in place of a canvas for steps that pack samples of many."""


@dataclass(frozen=True)
class Packing:
    """Where each sample is in a sequence. Example: two samples on 3x3 and one on 2x5 are groups of 18 and 10 tokens."""

    groups: tuple[tuple[int, Canvas], ...]  # (samples, canvas); samples of a group are adjacent
    sample: Tensor  # (T,) the sample of each token

    @classmethod
    def of(cls, groups: Sequence[tuple[int, Canvas]], device: torch.device) -> "Packing":
        lengths = np.repeat([height * width for _, (height, width) in groups], [count for count, _ in groups])
        return cls(tuple(groups), upload(device, np.repeat(np.arange(len(lengths)), lengths))[0])

    @property
    def samples(self) -> int:
        return sum(count for count, _ in self.groups)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sample."""
        return [height * width for count, (height, width) in self.groups for _ in range(count)]

    def part(self, samples: slice, tokens: slice) -> "Packing":
        """Some neighbouring samples, which are `tokens` of the sequence."""
        canvases = [canvas for count, canvas in self.groups for _ in range(count)][samples]
        groups = tuple((len(list(equal)), canvas) for canvas, equal in groupby(canvases))
        return Packing(groups, self.sample[tokens] - samples.start)

    @property
    def equally_long(self) -> tuple[tuple[int, int], ...]:
        """(samples, tokens of each) of neighbouring groups whose samples are equally long, such as 2x6 and 3x4."""
        runs: list[tuple[int, int]] = []
        for count, (height, width) in self.groups:
            if runs and runs[-1][1] == height * width:
                count += runs.pop()[0]
            runs.append((count, height * width))
        return tuple(runs)

    def totals(self, of_tokens: Tensor) -> Tensor:
        """Sums (B,) over the tokens of each sample; of_tokens (1, T)."""
        return of_tokens.new_zeros(self.samples).index_add_(0, self.sample, of_tokens[0])


def totals(of_tokens: Tensor, packing: Packing | None) -> Tensor:
    """Sums (B,) over the tokens of each sample; of_tokens (B, S), or (1, T) if packed."""
    return of_tokens.sum(dim=1) if packing is None else packing.totals(of_tokens)
