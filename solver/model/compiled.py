"""Layers compiled by `torch.compile`, which fuses the many small operations between the matrix products.

One graph serves every canvas and batch size. On a card networks are compiled by default, as they are bound by memory
bandwidth there; on a CPU eager code has faster matrix products.
"""

import logging
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from solver.common.checks import one_line
from solver.model.device import in_precision, is_out_of_memory
from solver.model.layers import Network, run_layers
from solver.model.rotary import Rotary
from solver.model.trm import TRM

Backend = Literal["eager", "inductor"]
LEAST_SECONDS = 1200.0  # of a run that compiles by default: compiling may take a minute, and cannot be interrupted

log = logging.getLogger("arc_trm")


def default_backend(device: torch.device, seconds: float) -> Backend | None:
    """How a run of some seconds on a device compiles its networks; None: not at all."""
    return "inductor" if device.type == "cuda" and seconds >= LEAST_SECONDS else None


class Compiled:
    """`run_layers`, compiled. Where that fails, it says so once and goes on with eager code."""

    def __init__(self, backend: Backend) -> None:
        self._run: Callable[..., Tensor] | None = torch.compile(run_layers, backend=backend, dynamic=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Compiled":
        return self

    @property
    def works(self) -> bool:
        return self._run is not None

    def __call__(self, layers: Iterable[Callable[..., Tensor]], h: Tensor, rotary: Rotary | None) -> Tensor:
        # a batch of 1 would need a graph of its own, and packed samples, also of length 1, one for every packing
        if self._run is not None and len(h) > 1:
            try:
                return self._run(layers, h, rotary)
            except Exception as error:  # not all are RuntimeErrors: FailOnRecompileLimitHit
                self.give_up(error)
        return run_layers(layers, h, rotary)

    def give_up(self, error: Exception) -> None:
        """Go on with eager code. Raises the error if that would not help."""
        if self._run is None or is_out_of_memory(error):
            raise error
        self._run = None
        reason = one_line(str(error))[:200]
        log.warning(
            "torch.compile: expected compiled layers, got %s: %s: continuing, slower, without",
            type(error).__name__,
            reason,
        )


@cache
def compiled(backend: Backend) -> Compiled:
    """The one of this process: what fails for one network fails for all."""
    return Compiled(backend)


def compile_networks(model: TRM, backend: Backend | None) -> None:
    """Run the networks of a model compiled from now on, in its later copies too; None: as they are.

    The Mamba-2 hybrid stays as it is: its loop over chunks would need a graph for every number of them.
    """
    if backend is not None and model.config.mixer != "mamba2_hybrid":
        for module in model.modules():
            if isinstance(module, Network):
                module.compiled = compiled(backend)


def is_compiled(model: TRM) -> bool:
    """Whether the networks of a model run compiled: that was asked for, and has not failed."""
    run = model.network.compiled
    return isinstance(run, Compiled) and run.works


def warm_up(model: TRM, autocast: torch.dtype | None, graded: bool = False) -> None:
    """Compile what prediction, or training (`graded`), will run, before its time is measured; nothing if eager."""
    run = model.network.compiled
    if not isinstance(run, Compiled):
        return
    device, canvas = model.y0.device, model.config.canvas
    state = model.fresh_state(2, canvas)
    x = torch.zeros_like(state.y, memory_format=torch.contiguous_format).requires_grad_(graded)
    try:
        with torch.set_grad_enabled(graded), in_precision(device, autocast):
            logits = model(x, state, canvas).logits
        if graded:
            torch.autograd.grad(logits.float().sum(), x)
    except Exception as error:
        run.give_up(error)
