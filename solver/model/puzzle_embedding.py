"""Puzzle tokens: the leading tokens that identify the task and its variant.

Letters: B batch, W width of one row of the table, P puzzle tokens, D width of the network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.symmetry import COLOURS, SYMMETRIES
from solver.model.linear import truncated_normal


class AugmentationTokens(nn.Module):
    """Two tokens that describe a variant: its symmetry and its colour permutation.

    With them one row serves all variants of a task (`shared` embedding). The second token is the sum over the colours
    of a vector for (colour, new colour); one token per colour learned no better and cost more (see the log in docs).
    """

    first_image: Tensor  # (10,) first row of each colour in `recolouring`

    def __init__(self, width: int) -> None:
        super().__init__()
        std = width**-0.5
        self.symmetry = nn.Parameter(truncated_normal((SYMMETRIES, width), std))
        self.recolouring = nn.Parameter(truncated_normal((COLOURS * COLOURS, width), std * COLOURS**-0.5))
        self.register_buffer("first_image", COLOURS * torch.arange(COLOURS), persistent=False)

    def forward(self, symmetry: Tensor, permutation: Tensor) -> Tensor:
        """symmetry (B,), permutation (B, 10) -> (B, 2, D)."""
        recoloured = F.embedding_bag(permutation + self.first_image, self.recolouring, mode="sum")
        return torch.stack([F.embedding(symmetry, self.symmetry), recoloured], dim=1)


def puzzle_tokens(rows: Tensor, tokens: int, width: int) -> Tensor:
    """Rows (B, W), zero-padded to P*D and cut into P leading tokens (B, P, D)."""
    return F.pad(rows, (0, tokens * width - rows.shape[1])).view(len(rows), tokens, width)
