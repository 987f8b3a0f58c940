"""The layer of the recursive network: attention (or a token MLP) and SwiGLU, post-norm, no gain, no bias.

Letters: B batch, N tokens, D width, K size of one attention head. Source: arXiv 2510.04871 and its published code.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solver.models.linear import Linear
from solver.models.positions import rotate

NORM_EPSILON = 1e-5

Rotary = tuple[Tensor, Tensor] | None


class _RMSNorm(torch.autograd.Function):
    """The norm with its derivative in closed form: the traced one's arithmetic, in a third of its passes."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        inverse = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + NORM_EPSILON)
        ctx.save_for_backward(x, inverse)
        return x * inverse

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        x, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        along = (grad * x).sum(dim=-1, keepdim=True) * inverse.pow(3) / x.shape[-1]
        return grad * inverse - x * along


def rms_norm(x: Tensor) -> Tensor:
    """x (…, D) divided by its root mean square over D, without gain; in float32 or wider, returned in x's type."""
    wide = x if x.dtype == torch.float64 else x.float()
    if torch.compiler.is_compiling():  # which derives and fuses it as well by itself
        return (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + NORM_EPSILON)).to(x.dtype)
    return _RMSNorm.apply(wide).to(x.dtype)


def swiglu_width(width: int, expansion: float) -> int:
    """Inner width of a SwiGLU: round(expansion * width * 2/3), rounded up to a multiple of 256."""
    return -(-round(expansion * width * 2 / 3) // 256) * 256


class SwiGLU(nn.Module):
    """down(silu(gate) * up) over the last axis, gate and up in one product."""

    def __init__(self, width: int, expansion: float) -> None:
        super().__init__()
        inner = swiglu_width(width, expansion)
        self.gate_up = Linear(width, 2 * inner)
        self.down = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, width) -> (…, width)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        activated = F.silu(gate)
        return self.down(activated * up if activated.requires_grad else activated.mul_(up))


class Attention(nn.Module):
    """h = rms(h + attention(h)): full (not causal, unmasked), multi-head, with rotary positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.head_size = width // heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, h: Tensor, rotary: Rotary) -> Tensor:
        """h (B, N, D) -> (B, N, D); `rotary` as from `positions.rotary_tables`, None for no positions."""
        batch, tokens, width = h.shape
        queries_keys, values = self.qkv(h).split([2 * width, width], dim=-1)
        queries_keys = queries_keys.reshape(batch, tokens, -1, self.head_size)  # (B, N, 2 heads, K)
        if rotary is not None:
            queries_keys = rotate(queries_keys, rotary).to(values.dtype)
        queries, keys = queries_keys.transpose(1, 2).chunk(2, dim=1)  # each (B, heads, N, K)
        values = values.reshape(batch, tokens, -1, self.head_size).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return rms_norm(h + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width)))


class TokenMLP(nn.Module):
    """h = rms(h + SwiGLU(h)) over the token axis, in place of attention ("mlp_t"); the number of tokens is fixed.

    The published norm runs over the tokens as well, not over the width as everywhere else.
    """

    def __init__(self, tokens: int, expansion: float) -> None:
        super().__init__()
        self.swiglu = SwiGLU(tokens, expansion)

    def forward(self, h: Tensor, rotary: Rotary) -> Tensor:
        """h (B, N, D) -> (B, N, D). Positions are in the weights: `rotary` is not used."""
        across = h.transpose(1, 2)  # (B, D, N)
        return rms_norm(across + self.swiglu(across)).transpose(1, 2)


class Layer(nn.Module):
    """A mixer over the tokens (residual and norm included), then h = rms(h + SwiGLU(h)) for each token."""

    def __init__(self, make_mixer: Callable[[], nn.Module], width: int, expansion: float) -> None:
        super().__init__()
        self.mixer = make_mixer()
        self.swiglu = SwiGLU(width, expansion)

    def forward(self, h: Tensor, rotary: Rotary) -> Tensor:
        """h (B, N, D) -> (B, N, D)."""
        h = self.mixer(h, rotary)
        return rms_norm(h + self.swiglu(h))


class Network(nn.Module):
    """f(h, injection) = layers(h + injection), the one network that every update shares."""

    def __init__(self, make_layer: Callable[[], Layer], layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make_layer() for _ in range(layers))

    def forward(self, h: Tensor, injection: Tensor, rotary: Rotary) -> Tensor:
        """h and injection (B, N, D) -> (B, N, D)."""
        h = h + injection
        for layer in self.layers:
            h = layer(h, rotary)
        return h


def scaled(x: Tensor, width: int) -> Tensor:
    """Embeddings times sqrt(D), so that their entries are of the size of the normalised state's."""
    return x * torch.tensor(width, dtype=x.dtype, device=x.device).sqrt()
