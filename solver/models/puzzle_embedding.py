"""Which task the network sees: the leading tokens looked up by puzzle id.

Letters: B batch, W width of one row of the table, P puzzle tokens, D width of the network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solver.models.linear import truncated_normal

SYMMETRIES, COLOURS = 8, 10


class AugmentationTokens(nn.Module):
    """1 + 10 tokens that describe a variant: its symmetry, and for each colour which colour it became.

    With them one row block can serve all variants of a task (`shared` embedding). Colour c's token is a vector for c
    plus a vector for its image, so a cell of colour p[c] can find by content what it was before.
    """

    count = 1 + COLOURS

    def __init__(self, width: int) -> None:
        super().__init__()
        std = width**-0.5
        self.symmetry = nn.Parameter(truncated_normal((SYMMETRIES, width), std))
        self.colour = nn.Parameter(truncated_normal((COLOURS, width), std))
        self.image = nn.Parameter(truncated_normal((COLOURS, width), std))

    def forward(self, symmetry: Tensor, permutation: Tensor) -> Tensor:
        """symmetry (B,), permutation (B, 10) -> (B, 11, D)."""
        by_colour = self.colour + F.embedding(permutation, self.image)  # (B, 10, D)
        return torch.cat([F.embedding(symmetry, self.symmetry)[:, None], by_colour], dim=1)


def puzzle_tokens(rows: Tensor, tokens: int, width: int) -> Tensor:
    """Rows (B, W), zero-padded to P*D and cut into P leading tokens (B, P, D)."""
    return F.pad(rows, (0, tokens * width - rows.shape[1])).view(-1, tokens, width)
