"""The mixer of the Mamba-2 hybrid (arXiv 2602.12078): two Mamba-2 blocks, then attention, in plain torch.

Mamba-2 (arXiv 2405.21060) reads the tokens as they are numbered, the puzzle's first, then the cells row by row, and
carries a state from each to the next; only attention looks back from the end.
Letters: B batch, N tokens, D width, I = 2 D inner width, H heads, K size of one, S size of a head's state; C chunks of
Q tokens.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solver.model.layers import Attention, DepthwiseConvolution, Rotary, rms_norm
from solver.model.linear import Linear

BLOCKS = 2  # Mamba-2 blocks before each attention
EXPANSION = 2  # I / D, as Mamba-2 has it; heads are as wide as attention's, so there are twice as many
KERNEL = 4  # of the causal convolution before the scan
CHUNK = 64  # largest Q: the masked product grows with Q, the states with S, which is 16 to 128 for D of 64 to 512

_RATES = (1.0, 16.0)  # at which fresh heads forget, a unit of step size
_STEPS = (0.001, 0.1)  # fresh step sizes, evenly over their logarithm


def state_size(width: int) -> int:
    """S: a quarter of the width, so that it shrinks with it.

    At the published width of 512 that is Mamba-2's 128, and one layer has the 6.86 M parameters that the paper states.
    """
    return max(width // 4, 1)


def chunks_of(tokens: int, largest: int = CHUNK) -> tuple[int, int]:
    """C and Q: as few chunks as hold the tokens, and as short as that many can be, so that little is padding."""
    chunks = -(-tokens // largest)
    return chunks, -(-tokens // chunks)


def scan(x: Tensor, steps: Tensor, rates: Tensor, write: Tensor, read: Tensor, largest: int = CHUNK) -> Tensor:
    """The state space model h_t = exp(steps_t rates) h_(t-1) + steps_t write_t x_t, y_t = read_t h_t (section 6).

    x (B, N, H, K), steps (B, N, H) and rates (H,), which are negative, in float32 or wider; write (B, N, S), "B" in the
    paper, and read (B, N, S), "C", are shared by the heads -> y (B, N, H, K) in x's type. Within a chunk the recurrence
    is a masked product like attention's; between chunks only states are carried. All exponents are at most 0, so
    nothing overflows however fast a head forgets.
    """
    tokens = x.shape[1]
    chunks, length = chunks_of(tokens, largest)
    missing = chunks * length - tokens

    def chunked(part: Tensor) -> Tensor:
        """(B, N, …) -> (B, C, Q, …); a step of size 0, as of the padding, leaves the state alone."""
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
    """What each token gets from its own chunk: inputs (B, C, Q, H, K) -> (B, C, Q, H, K)."""
    length = inputs.shape[2]
    by_head = elapsed.transpose(2, 3)  # (B, C, H, Q)
    later = torch.ones(length, length, dtype=torch.bool, device=inputs.device).triu(1)
    decays = (by_head[..., :, None] - by_head[..., None, :]).masked_fill_(later, -math.inf).exp_()  # (B, C, H, Q, Q)
    scores = read @ write.transpose(2, 3)  # (B, C, Q, Q), the same for every head
    weights = (scores[:, :, None] * decays).to(inputs.dtype)
    return (weights @ inputs.transpose(2, 3)).transpose(2, 3)


def _between(inputs: Tensor, elapsed: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """What the tokens of all chunks but the first get from the chunks before theirs: (B, C - 1, Q, H, K)."""
    left = (elapsed[:, :-1, -1:] - elapsed[:, :-1]).exp()  # of an input at the end of its chunk
    kept = (inputs[:, :-1] * left[..., None]).to(inputs.dtype)
    written = (write[:, :-1].transpose(2, 3) @ kept.flatten(3)).unflatten(3, kept.shape[3:])  # (B, C - 1, S, H, K)
    first, *later = written.unbind(1)  # at once: the derivative of an index is as large as the whole
    state = first.to(elapsed.dtype, copy=True)  # a view would hold all that is written until backward
    states = [state]
    for total, more in zip(elapsed[:, 1:-1, -1].exp().unbind(1), later, strict=True):
        state = state * total[:, None, :, None] + more
        states.append(state)
    before = torch.stack(states, dim=1).to(inputs.dtype)  # (B, C - 1, S, H, K), at the start of each later chunk
    found = (read[:, 1:] @ before.flatten(3)).unflatten(3, kept.shape[3:])
    return (found * elapsed[:, 1:].exp()[..., None]).to(inputs.dtype)


class Mamba2(nn.Module):
    """h = rms(h + out(rms(y * silu(gate)))), y the scan of the convolved inputs and a skip (section 7 and its code).

    The inner norm has no gain, as no norm here has one: `out` follows at once and would absorb it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner, state, self.heads = EXPANSION * width, state_size(width), EXPANSION * heads
        self.gate_and_steps = (inner, inner + 2 * state, self.heads)
        self.inputs = (inner, state, state)
        self.project = Linear(width, sum(self.gate_and_steps))
        self.convolution = DepthwiseConvolution(inner + 2 * state, KERNEL, before=KERNEL - 1)
        steps = torch.empty(self.heads).uniform_(*(math.log(step) for step in _STEPS)).exp()
        self.step_bias = nn.Parameter(steps + torch.log(-torch.expm1(-steps)))  # softplus takes it back to the step
        self.log_rates = nn.Parameter(torch.empty(self.heads).uniform_(*_RATES).log())
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.out = Linear(inner, width)

    def forward(self, h: Tensor) -> Tensor:
        """h (B, N, D) -> (B, N, D)."""
        gate, inputs, steps = self.project(h).split(self.gate_and_steps, dim=-1)
        inputs = self.convolution(inputs)
        x, write, read = F.silu(inputs, inplace=not inputs.requires_grad).split(self.inputs, dim=-1)
        x = x.unflatten(-1, (self.heads, -1))  # (B, N, H, K)
        steps = F.softplus(steps.to(torch.promote_types(steps.dtype, torch.float32)) + self.step_bias)
        y = scan(x, steps, -self.log_rates.exp(), write, read) + self.skip.to(x.dtype)[:, None] * x
        return rms_norm(h + self.out(rms_norm(y.flatten(2) * F.silu(gate))))


class Mamba2Hybrid(nn.Module):
    """The mixer: Mamba-2, Mamba-2, attention, each with residual and norm; the layer's SwiGLU follows."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.mamba = nn.ModuleList(Mamba2(width, heads) for _ in range(BLOCKS))
        self.attention = Attention(width, heads)

    def forward(self, h: Tensor, rotary: Rotary) -> Tensor:
        """h (B, N, D) -> (B, N, D); `rotary` is attention's alone, the scan has an order of its own."""
        for block in self.mamba:
            h = block(h)
        return self.attention(h, rotary)
