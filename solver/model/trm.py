"""The Tiny Recursive Model (arXiv 2510.04871): one small network that refines an answer by recursing on itself.

One recursion serves the TRM, the HRM it came from (arXiv 2506.21734) and the baselines of its ablations: they differ in
how many networks and latents there are and in how many updates carry gradient (`TRMConfig`).
Letters: B batch, P puzzle tokens, S = H*W canvas tokens, N = P + S, D width, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kernels.canvas import Canvas
from solver.common.checks import InputError
from solver.model.layers import Attention, Layer, Network, Rotary, TokenMLP, scaled
from solver.model.linear import Linear, linear, truncated_normal
from solver.model.mamba import Mamba2Hybrid
from solver.model.puzzle_embedding import AugmentationTokens, puzzle_tokens
from solver.model.rotary import cell_index, rope2d_angles, rope_angles, rotary_tables
from solver.settings.config import TRMConfig

HALTING_BIAS = -5.0  # a fresh network almost never halts


class Condition(NamedTuple):
    """What tells the network which variant of which task it sees, a sample a row."""

    rows: Tensor  # (B, W) of the puzzle embedding table
    symmetry: Tensor  # (B,)
    permutation: Tensor  # (B, 10)


class State(NamedTuple):
    """What is carried from one supervision step to the next, detached."""

    y: Tensor  # (B, N, D) answer, `z_H` in the published checkpoints
    z: Tensor  # (B, N, D) latent, `z_L`


class Output(NamedTuple):
    """What one supervision step leaves."""

    state: State
    logits: Tensor  # (B, S, V)
    halting: Tensor  # (B, 2) logits: halt, continue (HRM only)


class TRM(nn.Module):
    """The network f, its embeddings and heads. The puzzle embedding table lives outside: it belongs to the tasks."""

    y0: Tensor  # (D,) where every answer starts; a buffer, never trained
    z0: Tensor  # (D,) where every latent starts

    def __init__(self, config: TRMConfig) -> None:
        super().__init__()
        self.config = config
        full_tokens = config.puzzle_tokens + config.canvas[0] * config.canvas[1]
        std = config.width**-0.5
        self.token_embedding = nn.Parameter(truncated_normal((config.vocabulary, config.width), std))
        if config.positions == "learned":
            self.position_embedding = nn.Parameter(truncated_normal((full_tokens, config.width), std))
        if config.embedding == "shared":
            self.augmentation = AugmentationTokens(config.width)
        mixers: dict[str, Callable[[], nn.Module]] = {
            "attention": partial(Attention, config.width, config.heads),
            "mlp": partial(TokenMLP, full_tokens, config.expansion),
            "mamba2_hybrid": partial(Mamba2Hybrid, config.width, config.heads),
        }
        make_layer = partial(Layer, mixers[config.mixer], config.width, config.expansion, config.convolution)
        self.network = Network(make_layer, config.layers)
        if config.networks == 2:
            self.answer_network = Network(make_layer, config.answer_depth)
        self.output_head = Linear(config.width, config.vocabulary)
        self.halting_weight = nn.Parameter(torch.zeros(2, config.width))
        self.halting_bias = nn.Parameter(torch.full((2,), HALTING_BIAS))
        self.register_buffer("y0", truncated_normal((config.width,), 1.0))
        self.register_buffer("z0", truncated_normal((config.width,), 1.0))
        self._rotary: dict[tuple[Canvas, torch.device], Rotary] = {}

    def compile_layers(self, backend: str) -> None:
        """Compile every layer with `torch.compile`: what nearly all time goes to, and free of canvas sizes."""
        for layer in self.modules():
            if isinstance(layer, Layer):
                layer.compile(backend=backend, dynamic=True)

    def fresh_state(self, batch: int, canvas: Canvas) -> State:
        """The state (B, N, D) that every new example starts from."""
        shape = (batch, self.config.puzzle_tokens + canvas[0] * canvas[1], self.config.width)
        return State(self.y0.expand(shape), self.z0.expand(shape))

    def embed(self, tokens: Tensor, condition: Condition, canvas: Canvas) -> Tensor:
        """The question x (B, N, D) from input tokens (B, S) and what the sample is a variant of."""
        config = self.config
        parts = [puzzle_tokens(condition.rows, config.row_tokens, config.width)]
        if config.embedding == "shared":
            parts.append(self.augmentation(condition.symmetry, condition.permutation))
        parts.append(F.embedding(tokens, self.token_embedding))
        x = torch.cat(parts, dim=1)
        if config.positions == "learned":
            leading = torch.arange(config.puzzle_tokens)
            cells = config.puzzle_tokens + cell_index(canvas, config.canvas[1])
            x = (x + self.position_embedding[torch.cat([leading, cells]).to(x.device)]) * 0.5**0.5
        return scaled(x, config.width)

    def forward(self, x: Tensor, state: State, canvas: Canvas) -> Output:
        """One supervision step: T cycles of updates, of which only the last ones carry gradient."""
        rotary = self.rotary(canvas, x.device)
        first = self.config.cycles * self.config.updates - self.config.graded_updates
        with torch.no_grad():
            state = self._update(x, state, rotary, 0, first)
        y, z = self._update(x, state, rotary, first, self.config.cycles * self.config.updates)
        logits = self.output_head(y[:, self.config.puzzle_tokens :])
        halting = linear(y[:, 0], self.halting_weight) + self.halting_bias
        return Output(State(y.detach(), z.detach()), logits, halting)

    def _update(self, x: Tensor, state: State, rotary: Rotary, first: int, last: int) -> State:
        """Updates first…last-1 of a supervision step: in each cycle n of the latent, then one of the answer."""
        y, z = state
        if self.config.latents == 1:
            for _ in range(first, last):
                y = self.network(y, x, rotary)
            return State(y, z)
        of_answer = self.answer_network if self.config.networks == 2 else self.network
        for update in range(first, last):
            place = update % self.config.updates
            if place == self.config.latent_updates:
                y = of_answer(y, z, rotary)
                continue
            if place == 0 or update == first:
                injection = y + x  # the same for all n latent updates of a cycle
            z = self.network(z, injection, rotary)
        return State(y, z)

    def rotary(self, canvas: Canvas, device: torch.device) -> Rotary:
        """Rotary tables of a canvas, computed once a device. Raises InputError if the weights do not serve it."""
        config = self.config
        if not config.any_canvas and canvas != config.canvas:
            raise InputError(f"model: the token MLP serves only its own canvas {config.canvas}, got {canvas}")
        if canvas[0] > config.canvas[0] or canvas[1] > config.canvas[1]:
            raise InputError(f"model: canvas {canvas} is larger than the model's {config.canvas}")
        if config.mixer == "mlp" or config.positions in ("learned", "none"):
            return None
        if (canvas, device) not in self._rotary:
            head_size = config.width // config.heads
            if config.positions == "rope":
                angles = rope_angles(canvas, config.canvas[1], config.puzzle_tokens, head_size, config.rope_theta)
            else:
                angles = rope2d_angles(canvas, config.puzzle_tokens, head_size, config.rope_theta)
            cosine, sine = rotary_tables(angles)
            self._rotary[canvas, device] = (cosine.to(device), sine.to(device))
        return self._rotary[canvas, device]


def trainable_parameters(model: nn.Module) -> int:
    """Number of trainable entries, the puzzle embedding table not counted."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
