"""The layer of the recursive network: attention (or a token MLP) and SwiGLU, post-norm, no gain, no bias.

Letters: B batch, N tokens, D width, I inner width of a SwiGLU, K size of one attention head, k kernel of a convolution.
Source: arXiv 2510.04871 and its published code; the convolution is the URM's (arXiv 2512.14693).
"""

from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solver.model.linear import Linear
from solver.model.rotary import Rotary, rotate

NORM_EPSILON = 1e-5


class _RMSNorm(torch.autograd.Function):
    """The norm with its derivative in closed form: a third of the memory passes that autograd needs."""

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
    """x (…, D) divided by its root mean square over D, without gain. Computes in float32 or wider, keeps x's type."""
    wide = x if x.dtype == torch.float64 else x.float()
    if torch.compiler.is_compiling():  # the compiler derives and fuses this as well
        return (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + NORM_EPSILON)).to(x.dtype)
    return _RMSNorm.apply(wide).to(x.dtype)


def swiglu_width(width: int, expansion: float, multiple: int = 256) -> int:
    """Inner width of a SwiGLU: round(expansion * width * 2/3), rounded up to a multiple (256 as published)."""
    return -(-round(expansion * width * 2 / 3) // multiple) * multiple


def _taps(kernel: int, before: int, tokens: int) -> Iterator[tuple[int, slice, slice]]:
    """For each kernel position: the tokens it writes to, and the tokens it reads from."""
    for place in range(kernel):
        back, ahead = (min(max(distance, 0), tokens) for distance in (before - place, place - before))
        yield place, slice(back, tokens - ahead), slice(ahead, tokens - back)


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution as shifted products: on a CPU 3 to 6 times as fast as conv1d, forward and backward."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor, before: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.before = before  # type: ignore[attr-defined]
        mixed = torch.addcmul(bias, x, weight[before])
        for place, to, of in _taps(len(weight), before, x.shape[1]):
            if place != before:
                mixed[:, to].addcmul_(x[:, of], weight[place])
        return mixed

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        before = ctx.before  # type: ignore[attr-defined]
        grad_x, grad_weight = grad * weight[before], torch.empty_like(weight)
        for place, to, of in _taps(len(weight), before, x.shape[1]):
            if place != before:
                grad_x[:, of].addcmul_(grad[:, to], weight[place])
            grad_weight[place] = (grad[:, to] * x[:, of]).sum(dim=(0, 1))
        return grad_x, grad_weight, grad.sum(dim=(0, 1)), None


class DepthwiseConvolution(nn.Module):
    """Each channel is convolved along the token axis on its own, with zero padding at both ends.

    The kernel covers `before` tokens before a token, the token itself, and the rest after it. Initialised like torch's
    conv1d: uniform within 1/sqrt(k).
    """

    def __init__(self, channels: int, kernel: int, before: int) -> None:
        super().__init__()
        self.before = before
        bound = kernel**-0.5
        self.weight = nn.Parameter(torch.empty(kernel, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, channels) -> (B, N, channels), in x's type."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if not torch.compiler.is_compiling():
            return _Depthwise.apply(x, weight, bias, self.before)
        padded = F.pad(x, (0, 0, self.before, len(weight) - 1 - self.before))
        for place in range(len(weight)):  # the compiler derives and fuses this
            bias = bias + padded[:, place : place + x.shape[1]] * weight[place]
        return bias


class SwiGLU(nn.Module):
    """down(silu(gate) * up) over the last axis, with gate and up in one matrix product.

    With a `convolution`: down(silu(convolution(silu(gate) * up))) along the tokens, the ConvSwiGLU of the URM (arXiv
    2512.14693). As in its published code, the convolution has a bias and its kernel starts k // 2 tokens back, so k = 2
    mixes each token with the one before it. Puzzle tokens come first, then the cells in row order.
    """

    def __init__(self, width: int, inner: int, convolution: int = 0) -> None:
        super().__init__()
        self.gate_up = Linear(width, 2 * inner)
        self.down = Linear(inner, width)
        self.convolution = DepthwiseConvolution(inner, convolution, convolution // 2) if convolution else None

    def forward(self, x: Tensor) -> Tensor:
        """x (…, width) -> (…, width); with a convolution x (B, N, width)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        activated = F.silu(gate)
        activated = activated * up if activated.requires_grad else activated.mul_(up)
        if self.convolution is not None:
            mixed = self.convolution(activated)
            activated = F.silu(mixed, inplace=not mixed.requires_grad)
        return self.down(activated)


class Attention(nn.Module):
    """h = rms(h + attention(h)): full (not causal, unmasked), multi-head, with rotary positions."""

    def __init__(self, width: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.head_size, self.inner = head_size, heads * head_size
        self.qkv = Linear(width, 3 * self.inner)
        self.out = Linear(self.inner, width)

    def forward(self, h: Tensor, rotary: Rotary | None) -> Tensor:
        """h (B, N, D) -> (B, N, D); packed samples (1, T, D). `rotary` None: no positions."""
        batch, tokens, _ = h.shape
        queries_keys, values = self.qkv(h).split([2 * self.inner, self.inner], dim=-1)
        queries_keys = queries_keys.reshape(batch, tokens, -1, self.head_size)  # (B, N, 2 heads, K)
        if rotary is not None:
            queries_keys = rotate(queries_keys, rotary).to(values.dtype)
        queries, keys = queries_keys.chunk(2, dim=2)  # each (B, N, heads, K)
        values = values.reshape(batch, tokens, -1, self.head_size)
        if rotary is None or not rotary.groups:
            mixed = _attend((queries, keys, values), rotary is not None and rotary.causal)
        else:  # samples of the same size at once
            lengths = [count * each for count, each in rotary.groups]
            cut = zip(rotary.groups, *(part[0].split(lengths) for part in (queries, keys, values)), strict=True)
            parts = [[part.unflatten(0, size) for part in of_group] for size, *of_group in cut]
            mixed = torch.cat([_attend(of_group, rotary.causal).flatten(0, 1) for of_group in parts])
        return rms_norm(h + self.out(mixed.view(batch, tokens, self.inner)))


def _attend(parts: Iterable[Tensor], causal: bool) -> Tensor:
    """Queries, keys and values (B, N, heads, K) -> (B, N, heads * K)."""
    queries, keys, values = (part.transpose(1, 2) for part in parts)  # heads first
    mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=causal)
    return mixed.transpose(1, 2).flatten(2)


class TokenMLP(nn.Module):
    """h = rms(h + SwiGLU(h)) over the token axis, instead of attention ("mlp_t"); the number of tokens is fixed.

    As published, the norm here also runs over the tokens, not over the width as everywhere else.
    """

    def __init__(self, tokens: int, expansion: float) -> None:
        super().__init__()
        self.swiglu = SwiGLU(tokens, swiglu_width(tokens, expansion))

    def forward(self, h: Tensor, rotary: Rotary | None) -> Tensor:
        """h (B, N, D) -> (B, N, D). The weights know the positions; `rotary` is unused."""
        across = h.transpose(1, 2)  # (B, D, N)
        return rms_norm(across + self.swiglu(across)).transpose(1, 2)


class Layer(nn.Module):
    """A mixer over the tokens (with residual and norm), then h = rms(h + SwiGLU(h)) per token."""

    def __init__(self, make_mixer: Callable[[], nn.Module], width: int, inner: int, convolution: int = 0) -> None:
        super().__init__()
        self.mixer = make_mixer()
        self.swiglu = SwiGLU(width, inner, convolution)

    def forward(self, h: Tensor, rotary: Rotary | None) -> Tensor:
        h = self.mixer(h, rotary)
        return rms_norm(h + self.swiglu(h))


def run_layers(layers: Iterable[Callable[..., Tensor]], h: Tensor, rotary: Rotary | None) -> Tensor:
    """h (B, N, D) through the layers, one after the other."""
    for layer in layers:
        h = layer(h, rotary)
    return h


class Network(nn.Module):
    """f(h, injection) = layers(h + injection), the network behind every update."""

    compiled: Callable[..., Tensor] | None = None  # runs the layers in place of eager code

    def __init__(self, make_layer: Callable[[], Layer], layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make_layer() for _ in range(layers))

    def forward(self, h: Tensor, injection: Tensor, rotary: Rotary | None) -> Tensor:
        return (self.compiled or run_layers)(self.layers, h + injection, rotary)
