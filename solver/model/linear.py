"""The linear layer: torch's product, or a float32 CPU path that is up to twice as fast on AMD processors with AVX-512.

`torch.mm` sends float32 to MKL, which does not use AVX-512 on some AMD processors; oneDNN, also part of torch, does. On
a processor that has AVX2 alone MKL is the faster one (docs/log.md). The choice follows from the instruction set and not
from a measurement, so that all runs on one machine round alike. The two sum the same float32 products in a different
order and agree up to rounding (tests/solver/model/test_trm.py). To disable the fast path, set
`torch.backends.mkldnn.enabled = False`.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGE = 2**16  # entries of a weight; below, setting oneDNN up costs more than it gains (docs/log.md)


def truncated_normal(shape: tuple[int, ...], std: float, generator: torch.Generator | None = None) -> Tensor:
    """Normal values truncated at two sigma, rescaled so that the *resulting* standard deviation is `std`."""
    cut_std = 0.8796256610342398  # of a unit normal truncated at +-2: sqrt(1 - 4 pdf(2) / (2 cdf(2) - 1))
    return nn.init.trunc_normal_(torch.empty(shape), a=-2, b=2, generator=generator).mul_(std / cut_std)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a (M, K) times the transpose of b (N, K), by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    """x (…, K) times the transpose of weight (N, K), with a derivative, which the oneDNN op lacks."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            grad_x = _product(grad, weight.t())
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            rows, columns = weight.shape
            left, right = grad.reshape(-1, rows).t(), x.reshape(-1, columns).t()
            # oneDNN is fastest if the matrix that it packs has the longer side
            grad_weight = _product(right, left).t() if rows > columns else _product(left, right)
        return grad_x, grad_weight


def has_onednn() -> bool:
    """Whether this torch has the op, which is private and may disappear."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def _prefers_onednn() -> bool:
    return has_onednn() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def has_fast_path(x: Tensor, weight: Tensor) -> bool:
    """Whether this product uses oneDNN: float32 on a CPU with AVX-512, a large weight, no autocast, oneDNN enabled."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and weight.numel() >= LARGE
        and x.dtype == weight.dtype == torch.float32
        and bool(torch.backends.mkldnn.enabled)
        and _prefers_onednn()
        and not torch.is_autocast_enabled("cpu")
    )


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x (…, K) times the transpose of weight (N, K) -> (…, N)."""
    if has_fast_path(x, weight):
        if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
            return _OneDnnLinear.apply(x, weight)
        return _product(x, weight)
    return F.linear(x, weight)


class Linear(nn.Module):
    """A linear layer without bias; weight (outputs, inputs), initialised with std 1/sqrt(inputs)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(truncated_normal((outputs, inputs), inputs**-0.5))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight)
