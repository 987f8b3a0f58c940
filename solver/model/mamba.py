"""The mixer of the Mamba-2 hybrid (arXiv 2602.12078): two Mamba-2 blocks, then attention, in plain torch.

Mamba-2 (arXiv 2405.21060) is causal: it reads the puzzle tokens, then the cells in row order, and carries a state from
each token to the next. Only attention also looks ahead.
Letters: B batch, N tokens, D width, I = 2 D inner width, H heads, K size of one, S size of a head's state; C chunks of
Q tokens.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solver.model.layers import Attention, DepthwiseConvolution, rms_norm
from solver.model.linear import Linear
from solver.model.rotary import Rotary

BLOCKS = 2  # Mamba-2 blocks before each attention
EXPANSION = 2  # I / D, as in Mamba-2; heads are as wide as those of attention, so there are twice as many
STATE_SHARE = (
    4  # D / S: at the published D of 512, S is 128 as in Mamba-2, and a layer has the paper's 6.86 M parameters
)
KERNEL = 4  # of the causal convolution before the scan
CHUNK = 64  # largest Q: the masked product costs Q per token, the states S, which is 16 to 128 for D of 64 to 512

_RATES = (1.0, 16.0)  # range of initial decay rates of a head, per unit of step size
_STEPS = (0.001, 0.1)  # range of initial step sizes, log-uniform


def chunks_of(tokens: int, largest: int = CHUNK) -> tuple[int, int]:
    """C and Q: the fewest chunks that hold the tokens, as short as possible to keep the padding small."""
    chunks = -(-tokens // largest)
    return chunks, -(-tokens // chunks)


def scan(x: Tensor, steps: Tensor, rates: Tensor, write: Tensor, read: Tensor, largest: int = CHUNK) -> Tensor:
    """The state space model h_t = exp(steps_t rates) h_(t-1) + steps_t write_t x_t, y_t = read_t h_t (section 6).

    x (B, N, H, K); steps (B, N, H) and negative rates (H,), in float32 or wider; write and read (B, N, S), "B" and "C"
    in the paper, are shared by the heads. Returns y (B, N, H, K) in x's type. Within a chunk the recurrence is a masked
    product as in attention; between chunks only states are carried. All exponents are at most 0, so nothing overflows.
    """
    tokens = x.shape[1]
    chunks, length = chunks_of(tokens, largest)
    missing = chunks * length - tokens

    def chunked(part: Tensor) -> Tensor:
        """(B, N, …) -> (B, C, Q, …), padded with steps of size 0, which leave the state unchanged."""
        if missing:
            part = F.pad(part, (0, 0) * (part.dim() - 2) + (0, missing))
        return part.unflatten(1, (chunks, length))

    elapsed = chunked(steps * rates).cumsum(dim=2)  # (B, C, Q, H), since the start of the chunk
    inputs, write, read = chunked((x * steps[..., None]).to(x.dtype)), chunked(write), chunked(read)
    y = _within(inputs, elapsed, write, read)
    if chunks > 1:
        y = torch.cat([y[:, :1], y[:, 1:] + _between(inputs, elapsed, write, read)], dim=1)
    return y.flatten(1, 2)[:, :tokens]


def _within(inputs: Tensor, elapsed: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Contributions from within the chunk: inputs (B, C, Q, H, K) -> (B, C, Q, H, K)."""
    length = inputs.shape[2]
    by_head = elapsed.transpose(2, 3)  # (B, C, H, Q)
    later = torch.ones(length, length, dtype=torch.bool, device=inputs.device).triu(1)
    decays = (by_head[..., :, None] - by_head[..., None, :]).masked_fill_(later, -math.inf).exp_()  # (B, C, H, Q, Q)
    scores = read @ write.transpose(2, 3)  # (B, C, Q, Q), the same for every head
    weights = (scores[:, :, None] * decays).to(inputs.dtype)
    return (weights @ inputs.transpose(2, 3)).transpose(2, 3)


def _between(inputs: Tensor, elapsed: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """Contributions from earlier chunks, for all chunks but the first: (B, C - 1, Q, H, K)."""
    left = (elapsed[:, :-1, -1:] - elapsed[:, :-1]).exp()  # decay from an input to the end of its chunk
    kept = (inputs[:, :-1] * left[..., None]).to(inputs.dtype)
    written = (write[:, :-1].transpose(2, 3) @ kept.flatten(3)).unflatten(3, kept.shape[3:])  # (B, C - 1, S, H, K)
    first, *later = written.unbind(1)  # at once: the gradient of indexing is as large as the whole tensor
    state = first.to(elapsed.dtype, copy=True)  # a view would keep all of `written` alive until backward
    states = [state]
    for total, more in zip(elapsed[:, 1:-1, -1].exp().unbind(1), later, strict=True):
        state = state * total[:, None, :, None] + more
        states.append(state)
    before = torch.stack(states, dim=1).to(inputs.dtype)  # (B, C - 1, S, H, K), state at the start of each later chunk
    found = (read[:, 1:] @ before.flatten(3)).unflatten(3, kept.shape[3:])
    return (found * elapsed[:, 1:].exp()[..., None]).to(inputs.dtype)


class Mamba2(nn.Module):
    """h = rms(h + out(rms(y * silu(gate)))), where y is the scan of the convolved inputs plus a skip (section 7).

    The inner norm has no gain, like all norms here: `out` follows directly and would absorb it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner, state, self.heads = EXPANSION * width, max(width // STATE_SHARE, 1), EXPANSION * heads
        self.gate_and_steps = (inner, inner + 2 * state, self.heads)
        self.inputs = (inner, state, state)
        self.project = Linear(width, sum(self.gate_and_steps))
        self.convolution = DepthwiseConvolution(inner + 2 * state, KERNEL, before=KERNEL - 1)
        steps = torch.empty(self.heads).uniform_(*(math.log(step) for step in _STEPS)).exp()
        self.step_bias = nn.Parameter(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus
        self.log_rates = nn.Parameter(torch.empty(self.heads).uniform_(*_RATES).log())
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.out = Linear(inner, width)

    def forward(self, h: Tensor) -> Tensor:
        gate, inputs, steps = self.project(h).split(self.gate_and_steps, dim=-1)
        inputs = self.convolution(inputs)
        x, write, read = F.silu(inputs, inplace=not inputs.requires_grad).split(self.inputs, dim=-1)
        x = x.unflatten(-1, (self.heads, -1))  # (B, N, H, K)
        steps = F.softplus(steps.to(torch.promote_types(steps.dtype, torch.float32)) + self.step_bias)
        y = scan(x, steps, -self.log_rates.exp(), write, read) + self.skip.to(x.dtype)[:, None] * x
        return rms_norm(h + self.out(rms_norm(y.flatten(2) * F.silu(gate))))


class Mamba2Hybrid(nn.Module):
    """The mixer: Mamba-2, Mamba-2, attention, each with residual and norm. The SwiGLU of the layer follows."""

    def __init__(self, width: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.mamba = nn.ModuleList(Mamba2(width, heads) for _ in range(BLOCKS))
        self.attention = Attention(width, heads, head_size)

    def forward(self, h: Tensor, rotary: Rotary | None) -> Tensor:
        """h (B, N, D) -> (B, N, D); `rotary` is for the attention; the scan has its own order."""
        for block in self.mamba:
            h = block(h)
        return self.attention(h, rotary)
