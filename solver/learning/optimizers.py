"""Optimizers: Adam-atan2 or Muon for the trunk, row-wise sign-SGD for the puzzle embeddings; the float16 loss scale."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from solver.settings.config import Method

MOMENTS: dict[Method, tuple[str, ...]] = {"adam_atan2": ("m", "v"), "muon": ("m",)}
"""State that each method keeps per parameter."""

MUON_MOMENTUM = 0.95
MUON_RMS = 0.2  # root mean square of an update at lr 1: about that of Adam, so that both use the same lr
# Five iterations bring singular values from 0.001 to 1 close enough to 1 (K. Jordan's quintic, 2024)
_QUINTIC, _ITERATIONS = (3.4445, -4.7750, 2.0315), 5


class TrunkOptimizer(torch.optim.Optimizer):
    """Adam-atan2, and Muon for the groups with `method="muon"`, whose parameters are matrices.

    Adam-atan2 replaces the division of Adam by an arctangent, so it needs no epsilon and no update exceeds lr * pi/2:
    p *= 1 - lr*wd;  m, v as in Adam;  p -= lr/(1 - b1^t) * atan2(m, sqrt(v) / sqrt(1 - b2^t)),
    exactly as in the published runs. All tensors of a group are updated by a few `torch._foreach_*` calls.

    Muon updates a matrix by the orthogonal matrix nearest to its averaged gradient, scaled to the update size of Adam
    (as in URM's ARC-AGI-2 runs, arXiv 2512.14693, with the scale of arXiv 2502.16982 section 2.2).
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.1,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "step": 0, "method": "adam_atan2"}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            group["step"] += 1
            for p in parameters:
                if self.state[p].keys() != set(MOMENTS[group["method"]]):  # first step, or resumed with another method
                    self.state[p] = {moment: torch.zeros_like(p) for moment in MOMENTS[group["method"]]}
            gradients = [p.grad for p in parameters]
            means = [self.state[p]["m"] for p in parameters]
            if group["method"] == "muon":
                _muon_update(parameters, gradients, means, group)
            else:
                _atan2_update(parameters, gradients, means, [self.state[p]["v"] for p in parameters], group)


def _atan2_update(
    parameters: list[Tensor], gradients: list[Tensor], means: list[Tensor], squares: list[Tensor], group: dict[str, Any]
) -> None:
    lr, (beta1, beta2), step = group["lr"], group["betas"], group["step"]
    torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - beta2)
    scales = torch._foreach_sqrt(squares)
    torch._foreach_div_(scales, (1 - beta2**step) ** 0.5)
    steps = [mean.atan2(scale) for mean, scale in zip(means, scales, strict=True)]  # torch has no foreach atan2
    torch._foreach_add_(parameters, steps, alpha=-lr / (1 - beta1**step))


def _muon_update(parameters: list[Tensor], gradients: list[Tensor], means: list[Tensor], group: dict[str, Any]) -> None:
    torch._foreach_lerp_(means, gradients, 1 - MUON_MOMENTUM)
    ahead = torch._foreach_lerp(gradients, means, MUON_MOMENTUM)  # Nesterov's
    steps = [orthogonal(matrix) * (MUON_RMS * max(matrix.shape) ** 0.5) for matrix in ahead]
    torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
    torch._foreach_add_(parameters, steps, alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix (M, N) with its singular values replaced by about 1 (0.7 to 1.2), by Newton-Schulz iterations."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


@torch.no_grad()
def sign_sgd_(table: Tensor, ids: Tensor, gradients: Tensor, lr: float, weight_decay: float) -> None:
    """Update, in place, the rows that the batch used: row *= 1 - lr*wd; row -= lr * sign(sum of its gradients).

    table (rows, W); ids (B,), may repeat; gradients (B, W), where those that are not finite count as 0.
    """
    same = (ids[:, None] == ids).to(gradients.dtype)  # (B, B); a product sums in the same order on every run
    summed = same @ gradients.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    table[ids] = table[ids] * (1 - lr * weight_decay) - lr * summed.sign().to(table.dtype)


class LossScale:
    """The factor of a float16 loss, whose gradients would underflow without it.

    It is halved when a gradient overflows and doubled after `PATIENCE` steps without. torch's GradScaler waits for the
    device twice in each step, and refuses a step in which only puzzle embeddings have a gradient.
    """

    FIRST, PATIENCE = 2.0**16, 2000

    def __init__(self, enabled: bool) -> None:
        self._enabled, self.scale, self._clean_steps = enabled, self.FIRST if enabled else 1.0, 0

    @torch.no_grad()
    def unscale(self, gradients: list[Tensor]) -> bool:
        """Undo the factor, in place. Returns whether all gradients are finite; True without a look if not enabled."""
        if not self._enabled:
            return True
        torch._foreach_mul_(gradients, 1 / self.scale)
        finite = bool(torch.stack(torch._foreach_norm(gradients, math.inf)).isfinite().all())
        self._clean_steps = self._clean_steps + 1 if finite else 0
        if not finite:
            self.scale /= 2
        elif self._clean_steps % self.PATIENCE == 0:
            self.scale *= 2
        return finite

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps, under the names that GradScaler uses."""
        return {"scale": self.scale, "_growth_tracker": self._clean_steps} if self._enabled else {}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.scale, self._clean_steps = state["scale"], int(state["_growth_tracker"])
