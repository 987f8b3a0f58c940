"""FLOPs of one supervision step of one sample, counted by torch on the meta device: nothing is computed.

A FLOP is one addition or multiplication of a matrix product, so 2 per multiply-add. Norms, rotary embeddings,
activations, depthwise convolutions (0.2 % of a layer of the published width), losses and optimizers are not counted.
All layers of a model are equal, so one of them is run once per canvas, and its figure is multiplied by the number of
layer passes.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from kernels.canvas import Canvas
from solver.model.trm import TRM, trainable_parameters
from solver.settings.config import TRMConfig


@cache
def forward_flops(model: TRMConfig, canvas: Canvas) -> int:
    """FLOPs of the forward pass alone."""
    return _pass_flops(model, canvas, model.layer_passes)


@cache
def train_flops(model: TRMConfig, canvas: Canvas) -> int:
    """FLOPs of forward and backward pass.

    The backward pass costs twice the forward pass of the layers that carry gradient, since each product has two factors
    to differentiate. Q-learning adds a forward pass, for the halting values of the next supervision step.
    """
    forward = forward_flops(model, canvas) * (2 if model.halting == "q_learning" else 1)
    return forward + 2 * _pass_flops(model, canvas, model.graded_layer_passes)


def _pass_flops(model: TRMConfig, canvas: Canvas, layer_passes: int) -> int:
    halting = 0 if model.halting == "none" else 2  # on a single token; the output head is on every cell
    heads = 2 * model.width * (canvas[0] * canvas[1] * model.vocabulary + halting)
    return layer_passes * _layer(model, canvas) + heads


def trunk_parameters(model: TRMConfig) -> int:
    """Number of trainable parameters without the puzzle embedding table."""
    with torch.device("meta"):
        return trainable_parameters(TRM(model))


def _layer(model: TRMConfig, canvas: Canvas) -> int:
    """FLOPs of one layer; models that differ only in recursion and depth share one measurement."""
    single = replace(model, networks=1, latents=1, layers=1, answer_layers=0, cycles=1, latent_updates=0)
    return _measured_layer(replace(single, gradient="full", halting="binary"), canvas)


@cache
def _measured_layer(model: TRMConfig, canvas: Canvas) -> int:
    with torch.device("meta"):
        trm = TRM(model)
        h = torch.empty(1, model.puzzle_tokens + canvas[0] * canvas[1], model.width)
    with _FlashAttention(), FlopCounterMode(display=False) as counter:
        trm.network.layers[0](h, trm.rotary(canvas, h.device))
    return counter.get_total_flops()


class _FlashAttention(TorchFunctionMode):
    """Runs attention as the fused kernel of devices."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_flash_attention(*args)[0]
        return func(*args, **(kwargs or {}))
