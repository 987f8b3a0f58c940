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
from kernels.symmetry import COLOURS, SYMMETRIES
from solver.common.checks import InputError
from solver.model.layers import Attention, Layer, Network, Rotary, TokenMLP
from solver.model.linear import Linear, linear, truncated_normal
from solver.model.mamba import Mamba2Hybrid
from solver.model.rotary import cell_index, rope2d_angles, rope_angles, rotary_tables
from solver.settings.config import TRMConfig

HALTING_BIAS = -5.0  # a fresh network almost never halts


class Condition(NamedTuple):
    """Which variant of which task each of B samples is."""

    rows: Tensor  # (B, W) of the puzzle embedding table
    symmetry: Tensor  # (B,)
    permutation: Tensor  # (B, 10)


class State(NamedTuple):
    """What one supervision step passes to the next, detached."""

    y: Tensor  # (B, N, D) answer, `z_H` in published checkpoints
    z: Tensor  # (B, N, D) latent, `z_L`


class Output(NamedTuple):
    """Result of one supervision step."""

    state: State
    logits: Tensor  # (B, S, V)
    halting: Tensor  # (B, 2) logits: halt, continue (Q-learning only)


class AugmentationTokens(nn.Module):
    """Two tokens that describe a variant: its symmetry and its colour permutation.

    With them one row serves all variants of a task (`shared` embedding). The second token is the sum over the colours
    of a vector for (colour, new colour); one token per colour learned no better and cost more (see the log in docs).
    """

    first_image: Tensor  # (10,) first row of each colour in `recolouring`

    def __init__(self, width: int) -> None:
        super().__init__()
        std = width**-0.5
        self.symmetry = nn.Parameter(truncated_normal((SYMMETRIES, width), std))
        self.recolouring = nn.Parameter(truncated_normal((COLOURS * COLOURS, width), std * COLOURS**-0.5))
        self.register_buffer("first_image", COLOURS * torch.arange(COLOURS), persistent=False)

    def forward(self, symmetry: Tensor, permutation: Tensor) -> Tensor:
        """symmetry (B,), permutation (B, 10) -> (B, 2, D)."""
        recoloured = F.embedding_bag(permutation + self.first_image, self.recolouring, mode="sum")
        return torch.stack([F.embedding(symmetry, self.symmetry), recoloured], dim=1)


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
        """Compile every layer with `torch.compile`: nearly all time is spent there, one graph serves all canvases."""
        for layer in self.modules():
            if isinstance(layer, Layer):
                layer.compile(backend=backend, dynamic=True)

    def fresh_state(self, batch: int, canvas: Canvas) -> State:
        """The state (B, N, D) that every new example starts from."""
        shape = (batch, self.config.puzzle_tokens + canvas[0] * canvas[1], self.config.width)
        return State(self.y0.expand(shape), self.z0.expand(shape))

    def embed(self, tokens: Tensor, condition: Condition, canvas: Canvas) -> Tensor:
        """The question x (B, N, D) from input tokens (B, S) and the condition."""
        config = self.config
        padded = F.pad(condition.rows, (0, config.row_tokens * config.width - condition.rows.shape[1]))
        parts = [padded.view(len(padded), config.row_tokens, config.width)]  # the leading puzzle tokens
        if config.embedding == "shared":
            parts.append(self.augmentation(condition.symmetry, condition.permutation))
        parts.append(F.embedding(tokens, self.token_embedding))
        x = torch.cat(parts, dim=1)
        if config.positions == "learned":
            leading = torch.arange(config.puzzle_tokens)
            cells = config.puzzle_tokens + cell_index(canvas, config.canvas[1])
            x = (x + self.position_embedding[torch.cat([leading, cells]).to(x.device)]) * 0.5**0.5
        scale = torch.tensor(config.width, dtype=x.dtype, device=x.device).sqrt()
        return x * scale  # entries as large as those of the normalised state

    def forward(self, x: Tensor, state: State, canvas: Canvas) -> Output:
        """One supervision step: T - 1 cycles without gradient, then one with (section 3 of the paper).

        A cycle is n times z = f(z, y + x), then y = f(y, z). With `gradient="one_step"` only the last of these latent
        updates and the answer update carry gradient, as in the HRM.
        """
        config, rotary, (y, z) = self.config, self.rotary(canvas, x.device), state
        if config.latents == 1:
            # the ablation without a latent (section 4.2): y = f(y, x), n + 1 times per cycle
            with torch.no_grad():
                for _ in range(config.cycles * config.updates - config.graded_updates):
                    y = self.update_answer(y, x, rotary)
            for _ in range(config.graded_updates):
                y = self.update_answer(y, x, rotary)
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
        halting = linear(y[:, 0], self.halting_weight) + self.halting_bias
        return Output(State(y.detach(), z.detach()), logits, halting)

    def update_latent(self, x: Tensor, y: Tensor, z: Tensor, rotary: Rotary, times: int = 1) -> Tensor:
        """z = f(z, y + x), repeated `times`; all (B, N, D)."""
        if times:
            injection = y + x  # the same in every update
            for _ in range(times):
                z = self.network(z, injection, rotary)
        return z

    def update_answer(self, y: Tensor, z: Tensor, rotary: Rotary) -> Tensor:
        """y = f(y, z), or g(y, z) with a second network g; all (B, N, D)."""
        return (self.answer_network if self.config.networks == 2 else self.network)(y, z, rotary)

    def rotary(self, canvas: Canvas, device: torch.device) -> Rotary:
        """Rotary tables of a canvas, cached per device. Raises InputError if the model does not support the canvas."""
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
    """Number of trainable parameters, without the puzzle embedding table."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
