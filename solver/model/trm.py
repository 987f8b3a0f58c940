"""The Tiny Recursive Model (arXiv 2510.04871): one small network that refines an answer step by step.

The same class covers the HRM (arXiv 2506.21734) and the ablations of the paper. They differ in the number of networks
and latents, and in how many updates carry gradient (`TRMConfig`).
Letters: B batch, P puzzle tokens, S = H*W canvas tokens, N = P + S, D width, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.canvas import Canvas
from kernels.symmetry import SYMMETRIES
from solver.common.checks import InputError
from solver.model.layers import Attention, Layer, Network, TokenMLP, swiglu_width
from solver.model.linear import Linear, linear, truncated_normal
from solver.model.mamba import Mamba2Hybrid
from solver.model.packing import Packing, totals
from solver.model.rotary import Rotary, rope2d_angles, rope_angles, rotary_tables
from solver.settings.config import TRMConfig

HALTING_BIAS = -5.0  # a fresh network almost never halts
SYMMETRY_STD = 0.02  # of a fresh symmetry embedding, relative to a token's: variants of a task start out alike


class Condition(NamedTuple):
    """Which variant of which task each of B samples is."""

    rows: Tensor  # (B, W) of the puzzle embedding table
    symmetry: Tensor  # (B,)


class State(NamedTuple):
    """What one supervision step passes to the next, detached."""

    y: Tensor  # (B, N, D) answer, `z_H` in published checkpoints
    z: Tensor  # (B, N, D) latent, `z_L`


class Output(NamedTuple):
    """Result of one supervision step."""

    state: State
    logits: Tensor  # (B, S, V)
    halting: Tensor  # (B, 2) logits: halt, continue (Q-learning only)


class TRM(nn.Module):
    """The network f with embeddings and heads. The puzzle embedding table is separate: it belongs to the tasks."""

    y0: Tensor  # (D,) initial answer at every token; a buffer, never trained
    z0: Tensor  # (D,) initial latent

    def __init__(self, config: TRMConfig) -> None:
        super().__init__()
        self.config = config
        full_tokens = config.puzzle_tokens + config.canvas[0] * config.canvas[1]
        std = config.width**-0.5
        self.token_embedding = nn.Parameter(truncated_normal((config.vocabulary, config.width), std))
        if config.positions == "learned":
            self.position_embedding = nn.Parameter(truncated_normal((full_tokens, config.width), std))
        if config.embedding == "per_cell":
            self.symmetry_embedding = nn.Parameter(truncated_normal((SYMMETRIES, config.width), SYMMETRY_STD * std))
        attention = config.width, config.heads, config.attention_head
        mixers: dict[str, Callable[[], nn.Module]] = {
            "attention": partial(Attention, *attention),
            "mlp": partial(TokenMLP, full_tokens, config.expansion),
            "mamba2_hybrid": partial(Mamba2Hybrid, *attention),
        }
        inner = swiglu_width(config.width, config.expansion, config.inner_multiple)
        make_layer = partial(Layer, mixers[config.mixer], config.width, inner, config.convolution)
        self.network = Network(make_layer, config.layers)
        if config.networks == 2:
            self.answer_network = Network(make_layer, config.answer_depth)
        self.output_head = Linear(config.width, config.vocabulary)
        if config.halting != "none":
            self.halting_weight = nn.Parameter(torch.zeros(2, config.width))
            self.halting_bias = nn.Parameter(torch.full((2,), HALTING_BIAS))
        self.register_buffer("y0", truncated_normal((config.width,), 1.0))
        self.register_buffer("z0", truncated_normal((config.width,), 1.0))
        self._rotary: dict[tuple[Canvas, torch.device], Rotary] = {}

    def fresh_state(self, batch: int, canvas: Canvas | Packing) -> State:
        """The state (B, N, D), or (1, T, D) if packed, that every new example starts from."""
        if isinstance(canvas, Packing):
            shape = (1, len(canvas.sample), self.config.width)
        else:
            shape = (batch, self.config.puzzle_tokens + canvas[0] * canvas[1], self.config.width)
        return State(self.y0.expand(shape), self.z0.expand(shape))

    def embed(self, tokens: Tensor, condition: Condition, canvas: Canvas | Packing) -> Tensor:
        """The question x (B, N, D) from input tokens (B, S) and the condition; packed, (1, T, D) from (1, T)."""
        config, x = self.config, F.embedding(tokens, self.token_embedding)
        if config.embedding == "per_cell":
            identity = condition.rows + F.embedding(condition.symmetry, self.symmetry_embedding)
            x = x + (identity[canvas.sample] if isinstance(canvas, Packing) else identity[:, None])
        else:
            padded = F.pad(condition.rows, (0, config.row_tokens * config.width - condition.rows.shape[1]))
            x = torch.cat([padded.view(len(padded), config.row_tokens, config.width), x], dim=1)
        if config.positions == "learned":
            assert not isinstance(canvas, Packing), "learned positions are not packed"
            leading, cells = self.position_embedding.split([config.puzzle_tokens, config.canvas[0] * config.canvas[1]])
            cells = cells.unflatten(0, config.canvas)[: canvas[0], : canvas[1]].flatten(0, 1)
            x = (x + torch.cat([leading, cells])) * 0.5**0.5
        return x * config.width**0.5  # entries as large as those of the normalised state

    def forward(self, x: Tensor, state: State, canvas: Canvas | Packing) -> Output:
        """One supervision step: T - 1 cycles without gradient, then one with (section 3 of the paper).

        A cycle is n times z = f(z, y + x), then y = f(y, z). With `gradient="one_step"` only the last of these latent
        updates and the answer update carry gradient, as in the HRM.
        """
        config, rotary, (y, z) = self.config, self.rotary(canvas, x.device), state
        if config.latents == 1:
            injections = config.cycles * self.injections(x)
            with torch.no_grad():
                for injection in injections[: -config.graded_updates]:
                    y = self.update_answer(y, injection, rotary)
            for injection in injections[-config.graded_updates :]:
                y = self.update_answer(y, injection, rotary)
        else:
            graded = 1 if config.gradient == "one_step" else config.latent_updates
            with torch.no_grad():
                for _ in range(config.cycles - 1):
                    z = self.update_latent(x, y, z, rotary, config.latent_updates)
                    y = self.update_answer(y, z, rotary)
                z = self.update_latent(x, y, z, rotary, config.latent_updates - graded)  # none by default
            z = self.update_latent(x, y, z, rotary, graded)
            y = self.update_answer(y, z, rotary)
        logits = self.output_head(y[:, config.puzzle_tokens :])
        if config.halting == "none":
            halting = _confidence(logits, canvas if isinstance(canvas, Packing) else None)
        else:
            halting = linear(y[:, 0], self.halting_weight) + self.halting_bias
        return Output(State(y.detach(), z.detach()), logits, halting)

    def update_latent(self, x: Tensor, y: Tensor, z: Tensor, rotary: Rotary | None, times: int = 1) -> Tensor:
        """z = f(z, y + x), repeated `times`; all (B, N, D)."""
        if times:
            injection = y + x  # the same in every update
            for _ in range(times):
                z = self.network(z, injection, rotary)
        return z

    def injections(self, x: Tensor) -> list[Tensor]:
        """What is added to the answer of a model without a latent in each update of a cycle; all (B, N, D).

        The ablation of section 4.2: n times y = f(y + x), then y = f(y). With n = 0 a plain transformer: y = f(y + x).
        """
        count = self.config.latent_updates
        return [*[x] * count, torch.zeros_like(x)] if count else [x]

    def update_answer(self, y: Tensor, z: Tensor, rotary: Rotary | None) -> Tensor:
        """y = f(y, z), or g(y, z) with a second network g; all (B, N, D)."""
        return (self.answer_network if self.config.networks == 2 else self.network)(y, z, rotary)

    def rotary(self, canvas: Canvas | Packing, device: torch.device) -> Rotary | None:
        """Rotary tables of a canvas, cached per device. Raises InputError if the model does not support the canvas."""
        config = self.config
        if isinstance(canvas, Packing):
            return self._packed_rotary(canvas, device)
        if not config.any_canvas and canvas != config.canvas:
            raise InputError(f"model: the token MLP serves only its own canvas {config.canvas}, got {canvas}")
        if canvas[0] > config.canvas[0] or canvas[1] > config.canvas[1]:
            raise InputError(f"model: canvas {canvas} is larger than the model's {config.canvas}")
        if config.mixer == "mlp" or config.positions in ("learned", "none"):
            return None
        if (canvas, device) not in self._rotary:
            if config.positions == "rope":
                shape = (config.canvas[1], config.puzzle_tokens, config.attention_head)
                angles = rope_angles(canvas, *shape, config.rope_theta)
            else:
                angles = rope2d_angles(canvas, config.puzzle_tokens, config.attention_head, config.rope_theta)
            cosine, sine = rotary_tables(angles)[:2]
            self._rotary[canvas, device] = Rotary(cosine.to(device), sine.to(device))
        return self._rotary[canvas, device]

    def _packed_rotary(self, packing: Packing, device: torch.device) -> Rotary:
        parts = []
        for count, canvas in packing.groups:
            rotary = self.rotary(canvas, device)
            assert rotary is not None, "packed samples need rotary positions"
            parts.append([table.repeat(count, 1, 1) for table in rotary[:2]])
        cosine, sine = (torch.cat(tables) for tables in zip(*parts, strict=True))
        return Rotary(cosine, sine, packing.equally_long)


def _confidence(logits: Tensor, packing: Packing | None) -> Tensor:
    """Logits (B, 2) of the mean probability, geometric over the cells, of the best tokens; logits (B, S, V)."""
    best = F.log_softmax(logits.detach().float(), dim=-1).amax(dim=-1)
    mean = totals(best, packing) / totals(torch.ones_like(best), packing)
    return torch.logit(mean.exp(), eps=1e-6)[:, None].expand(-1, 2)


def trainable_parameters(model: nn.Module) -> int:
    """Number of trainable parameters, without the puzzle embedding table."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
