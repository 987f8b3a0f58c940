"""The two optimizers: Adam-atan2 for the trunk, row-wise sign-SGD for puzzle embeddings, and their warm-up."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AdamAtan2(torch.optim.Optimizer):
    """Adam whose division is an arctangent, so that there is no epsilon and the step never exceeds lr * pi/2.

    p *= 1 - lr*wd;  m, v as in Adam;  p -= lr/(1 - b1^t) * atan2(m, sqrt(v) / sqrt(1 - b2^t)),
    exactly as the published runs. All tensors of a group are moved by a handful of `torch._foreach_*` calls.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.1,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "step": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            group["step"] += 1
            for p in parameters:
                if not self.state[p]:
                    self.state[p] = {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}
            means = [self.state[p]["m"] for p in parameters]
            squares = [self.state[p]["v"] for p in parameters]
            _atan2_update(parameters, [p.grad for p in parameters], means, squares, group)


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


@torch.no_grad()
def sign_sgd_(table: Tensor, ids: Tensor, gradients: Tensor, lr: float, weight_decay: float) -> None:
    """Move only the rows that the batch used: row *= 1 - lr*wd; row -= lr * sign(sum of its gradients).

    table (rows, W), changed in place; ids (B,), may repeat; gradients (B, W).
    """
    unique, place = ids.unique(return_inverse=True)
    summed = torch.zeros(len(unique), table.shape[1], dtype=gradients.dtype, device=gradients.device)
    summed.index_add_(0, place, gradients)
    table[unique] = table[unique] * (1 - lr * weight_decay) - lr * summed.sign().to(table.dtype)
