"""Training in bfloat16 and float16, which works on a CPU too."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from solver.learning.learner import Learner
from solver.learning.optimizers import LossScale, sign_sgd_
from solver.model.device import in_precision, is_out_of_memory
from solver.model.trm import TRM
from solver.settings.config import LearnerConfig
from tests.solver.learning.steps import train_step
from tests.solver.learning.test_learner import CANVAS, MODEL, make_batch

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
CPU = torch.device("cpu")


def make_learner(dtype: torch.dtype, cycles: int = 2) -> Learner:
    torch.manual_seed(0)
    model = TRM(replace(MODEL, cycles=cycles))
    nn.init.normal_(model.halting_weight)
    table = nn.Parameter(torch.randn(5, 16))
    return Learner(model, table, LearnerConfig(lr=1e-2, warmup_steps=0), torch.Generator().manual_seed(0), dtype)


@HALVES
def test_every_parameter_gets_a_gradient_and_moves(dtype: torch.dtype) -> None:
    """Up to torch 2.10, weights that the first cycle had cast were cached without a gradient for the last."""
    learner, graded = make_learner(dtype), set[str]()
    for name, parameter in learner.model.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: graded.add(name) if p.grad is not None and p.grad.any() else None
        )
    before = {name: p.detach().clone() for name, p in learner.model.named_parameters()}
    table = learner.table.detach().clone()
    for _ in range(2):
        train_step(learner, CANVAS, 5, make_batch)
    assert graded == set(before)
    assert [name for name, p in learner.model.named_parameters() if torch.equal(p, before[name])] == []
    assert bool((learner.table != table).all())
    with in_precision(CPU, dtype):
        assert not torch.is_autocast_cache_enabled()


@HALVES
def test_rows_are_fitted_while_the_trunk_is_frozen(dtype: torch.dtype) -> None:
    learner = make_learner(dtype)
    learner.freeze_trunk(True)
    before = [p.detach().clone() for p in (learner.table, *learner.model.parameters())]
    train_step(learner, CANVAS, 5, make_batch)
    table, *trunk = (
        torch.equal(a, b) for a, b in zip(before, (learner.table, *learner.model.parameters()), strict=True)
    )
    assert not table
    assert all(trunk)


def test_an_overflow_in_the_rows_alone_moves_nothing_and_halves_the_scale() -> None:
    scale, good, bad = LossScale(True), torch.full((3,), 2.0**16), torch.tensor([1.0, torch.nan])
    assert scale.unscale([good])
    assert good.tolist() == [1.0] * 3
    assert not scale.unscale([good, bad])
    assert scale.scale == LossScale.FIRST / 2
    learner = make_learner(torch.float16)
    learner.freeze_trunk(True)
    learner.scaler.load_state_dict({**learner.scaler.state_dict(), "scale": 1e30})
    before = learner.table.detach().clone()
    train_step(learner, CANVAS, 5, make_batch)
    assert torch.equal(learner.table, before)


def test_the_scale_doubles_after_clean_steps_and_survives_a_checkpoint() -> None:
    scale, again = LossScale(True), LossScale(True)
    for _ in range(LossScale.PATIENCE - 1):
        scale.unscale([torch.zeros(1)])
    again.load_state_dict(scale.state_dict())
    assert again.scale == LossScale.FIRST
    again.unscale([torch.zeros(1)])
    assert again.scale == 2 * LossScale.FIRST
    assert LossScale(False).state_dict() == {}


def test_gradients_that_are_no_numbers_leave_their_rows_alone() -> None:
    """The sign of NaN is NaN, and a row that holds one never recovers."""
    table = torch.ones(4, 2)
    gradients = torch.tensor([[torch.nan, 1.0], [torch.inf, -1.0], [2.0, 2.0]])
    sign_sgd_(table, torch.tensor([0, 1, 1]), gradients, lr=0.1, weight_decay=0.0)
    torch.testing.assert_close(table, torch.tensor([[1, 0.9], [0.9, 0.9], [1, 1], [1, 1]]))


@pytest.mark.parametrize(
    "message",
    [
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to …",
        "CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "NCCL Error 1: unhandled cuda error 'out of memory'",
    ],
)
def test_every_message_of_a_full_memory_is_recognised(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
