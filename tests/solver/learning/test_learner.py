"""The objective, the optimizers and the learner against plain formulas."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from kernels.canvas import IGNORE
from solver.learning.learner import Learner
from solver.learning.loss import cross_entropy, step_losses
from solver.learning.optimizers import TrunkOptimizer, orthogonal, sign_sgd_
from solver.model.packing import PACKED, Packing
from solver.model.trm import TRM, State
from solver.settings.config import LearnerConfig, TRMConfig
from solver.tokens.encode import Batch
from tests.solver.learning.steps import some, train_step

CANVAS = (2, 3)
MODEL = TRMConfig(width=16, heads=2, cycles=1, latent_updates=1, canvas=(3, 3), row_tokens=1, row_width=16)


def make_learner(device: torch.device | str = "cpu", model: TRMConfig = MODEL, **settings: object) -> Learner:
    torch.manual_seed(0)
    trunk = TRM(model).to(device)
    table = nn.Parameter(torch.zeros(5, 16, device=device))
    config = LearnerConfig(**{"lr": 1e-2, "warmup_steps": 0, **settings})
    return Learner(trunk, table, config, torch.Generator().manual_seed(0))


def make_batch(count: int, seed: int = 0, device: torch.device | str = "cpu") -> Batch:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, 12, (2, count, 6), generator=generator)
    tokens[1, :, 0] = IGNORE
    ids = torch.arange(count) % 5
    return Batch(*(t.to(device) for t in (*tokens, ids, torch.zeros_like(ids))))


def test_stablemax_is_its_formula() -> None:
    logits = torch.tensor([[[3.0, -2.0, 0.5]]])
    s = [3.0 + 1, 1 / (1 + 2.0), 0.5 + 1]
    expected = -math.log(s[1] / sum(s))
    assert cross_entropy(logits, torch.tensor([[1]]), "stablemax").item() == pytest.approx(expected)
    softmax = -math.log(math.exp(-2) / sum(math.exp(a) for a in (3.0, -2.0, 0.5)))
    assert cross_entropy(logits, torch.tensor([[1]]), "softmax").item() == pytest.approx(softmax, rel=1e-6)


@pytest.mark.parametrize("kind", ["stablemax", "softmax"])
def test_loss_is_a_mean_over_labelled_tokens_only(kind: str) -> None:
    logits, labels = torch.randn(2, 4, 12), torch.tensor([[3, IGNORE, 5, IGNORE], [IGNORE] * 4])
    losses = cross_entropy(logits, labels, kind)
    parts = [cross_entropy(logits[:1, [k]], labels[:1, [k]], kind).item() for k in (0, 2)]
    assert losses.tolist() == pytest.approx([sum(parts) / 2, 0.0])


def test_a_sequence_is_right_when_every_labelled_token_is() -> None:
    logits = torch.zeros(2, 2, 12)
    logits[:, 0, 4] = 1
    losses = step_losses(logits, torch.zeros(2, 2), torch.tensor([[4, IGNORE], [4, 7]]), "stablemax")
    assert losses.right.tolist() == [True, False]
    assert losses.halting.tolist() == pytest.approx([math.log(2)] * 2)


def test_adam_atan2_is_its_formula() -> None:
    p = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = TrunkOptimizer([p], lr=0.1, betas=(0.9, 0.95), weight_decay=0.2)
    expected, m, v = p.detach().clone(), torch.zeros(2), torch.zeros(2)
    for step, grad in enumerate((torch.tensor([0.5, -1.0]), torch.tensor([-0.1, 3.0])), start=1):
        p.grad = grad.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * grad, 0.95 * v + 0.05 * grad**2
        expected = expected * (1 - 0.1 * 0.2)
        expected -= 0.1 / (1 - 0.9**step) * torch.atan2(m, v.sqrt() / math.sqrt(1 - 0.95**step))
        torch.testing.assert_close(p.detach(), expected)


def test_adam_leaves_parameters_without_gradient_alone() -> None:
    frozen, moving = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    moving.grad = torch.ones(2)
    TrunkOptimizer([frozen, moving], lr=0.1).step()
    assert torch.equal(frozen, torch.ones(2))
    assert not torch.equal(moving, torch.ones(2))


@pytest.mark.parametrize("shape", [(6, 6), (4, 10), (10, 4)])
def test_orthogonal_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 5
    left, before, right = torch.linalg.svd(matrix, full_matrices=False)
    made = orthogonal(matrix)
    assert before.max() / before.min() > 1.8
    inner = left.T @ made @ right.T  # of the same singular vectors, so diagonal
    assert inner.diagonal().min() > 0.6
    assert inner.diagonal().max() < 1.3
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-4, rtol=0)


def test_muon_moves_matrices_by_its_formula() -> None:
    p = nn.Parameter(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)))
    optimizer = TrunkOptimizer([{"params": [p], "method": "muon"}], lr=0.1, weight_decay=0.2)
    expected, m = p.detach().clone(), torch.zeros(3, 5)
    for scale in (1.0, -3.0):
        p.grad = scale * torch.arange(15.0).reshape(3, 5).cos()
        optimizer.step()
        m = 0.95 * m + 0.05 * p.grad
        step = orthogonal(0.05 * p.grad + 0.95 * m) * 0.2 * 5**0.5
        expected = expected * (1 - 0.1 * 0.2) - 0.1 * step
        torch.testing.assert_close(p.detach(), expected)


def test_muon_of_the_trunk_is_for_the_layers_matrices_alone() -> None:
    learner = make_learner(trunk_optimizer="muon")
    matrices, others, *_ = learner.optimizer.param_groups
    names = {id(p): name for name, p in learner.model.named_parameters()}
    moved = {names[id(p)] for p in matrices["params"]}
    assert moved == {name for name in names.values() if name.startswith("network.")}
    assert (matrices["method"], others["method"]) == ("muon", "adam_atan2")
    train_step(learner, CANVAS, 2, lambda count: make_batch(count))
    assert {part for p in matrices["params"] for part in learner.optimizer.state[p]} == {"m"}
    assert {part for p in others["params"] for part in learner.optimizer.state[p]} == {"m", "v"}


def test_sign_sgd_sums_equal_ids_and_moves_only_their_rows() -> None:
    table = torch.ones(4, 2)
    gradients = torch.tensor([[1.0, 1.0], [-3.0, 0.5], [2.0, -2.0]])
    sign_sgd_(table, torch.tensor([2, 2, 0]), gradients, lr=0.1, weight_decay=0.5)
    kept = 1 - 0.1 * 0.5
    torch.testing.assert_close(
        table, torch.tensor([[kept - 0.1, kept + 0.1], [1, 1], [kept + 0.1, kept - 0.1], [1, 1]])
    )


def test_slots_keep_their_example_until_they_halt(device: torch.device) -> None:
    learner = make_learner(device, supervision_steps=3, exploration=0.0)
    drawn: list[int] = []

    def draw(count: int) -> Batch:
        drawn.append(count)
        return make_batch(count, seed=len(drawn), device=device)

    for expected in ([1, 1], [2, 2], [3, 3], [1, 1]):
        train_step(learner, CANVAS, 2, draw)
        assert learner.slots[CANVAS].steps.tolist() == expected
    assert drawn == [2, 2]


def test_a_confident_slot_halts_early_unless_it_explores() -> None:
    for exploration, halts in ((0.0, True), (1.0, False)):
        learner = make_learner(supervision_steps=16, exploration=exploration, lr=0.0)
        with torch.no_grad():
            learner.model.halting_bias.fill_(5.0)
        train_step(learner, CANVAS, 4, lambda count: make_batch(count))
        assert learner.slots[CANVAS].halted.tolist() == [halts] * 4  # an explorer stays at least 2 steps


def test_partial_refill_replaces_the_halted_slots_alone() -> None:
    learner = make_learner(supervision_steps=9, exploration=0.0)
    train_step(learner, CANVAS, 3, lambda count: make_batch(count))
    slots = learner.slots[CANVAS]
    before = slots.batch.inputs.clone()
    slots.halted = torch.tensor([False, True, False])
    train_step(learner, CANVAS, 3, lambda count: make_batch(count, seed=9))
    assert torch.equal(slots.batch.inputs[[0, 2]], before[[0, 2]])
    assert torch.equal(slots.batch.inputs[1], make_batch(1, seed=9).inputs[0])
    assert slots.steps.tolist() == [2, 1, 2]


def test_every_canvas_keeps_its_own_slots() -> None:
    learner = make_learner()
    train_step(learner, CANVAS, 2, lambda count: make_batch(count))
    train_step(learner, (3, 2), 1, lambda count: make_batch(count))
    train_step(learner, CANVAS, 2, lambda count: make_batch(count))
    assert {canvas: len(slots.steps) for canvas, slots in learner.slots.items()} == {CANVAS: 2, (3, 2): 1}
    assert learner.slots[CANVAS].steps.tolist() == [2, 2]


@pytest.mark.parametrize("halting", ["binary", "q_learning"])
@pytest.mark.parametrize("row_optimizer", ["sign_sgd", "adam_atan2"])
def test_four_chunks_are_one_batch(device: torch.device, row_optimizer: str, halting: str) -> None:
    """The same gradients, losses, states and halted slots, over steps in which slots halt at different times."""
    wide, settings = replace(MODEL, halting=halting, cycles=2), {"row_optimizer": row_optimizer, "lr": 1e-4}
    whole, parts = (make_learner(device, wide, exploration=0.5, supervision_steps=3, **settings) for _ in range(2))
    parts.chunk_tokens = 2 * (1 + 6) + 1  # two slots, and a bit of a third
    passes = []
    parts.model.register_forward_hook(lambda module, given, output: passes.append(len(given[0])))
    for step in range(5):
        metrics = [train_step(one, CANVAS, 8, lambda n, s=step: make_batch(n, s, device)) for one in (whole, parts)]
        for a, b in zip(*metrics, strict=True):
            assert float(a) == pytest.approx(float(b), rel=1e-5)
        for a, b in zip(whole.optimizer.state.values(), parts.optimizer.state.values(), strict=True):
            for moment in a:
                torch.testing.assert_close(a[moment], b[moment], atol=1e-6, rtol=1e-4)
        of_whole, of_parts = whole.slots[CANVAS], parts.slots[CANVAS]
        for a, b in zip((*of_whole.state, *of_whole.batch[:4]), (*of_parts.state, *of_parts.batch[:4]), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        assert of_whole.steps.tolist() == of_parts.steps.tolist()
        assert of_whole.halted.tolist() == of_parts.halted.tolist()
    torch.testing.assert_close(whole.table, parts.table, atol=1e-6, rtol=0)
    assert set(passes) == {2}
    assert len(passes) == 5 * 4 * (2 if halting == "q_learning" else 1)


def test_chunks_of_packed_samples_are_one_batch() -> None:
    model = replace(MODEL, embedding="per_cell", positions="rope2d", halting="none")
    groups = [(3, (1, 2)), (2, (2, 1)), (3, (2, 3))]
    tokens = torch.randint(2, 12, (2, 1, 5 * 2 + 3 * 6), generator=torch.Generator().manual_seed(0))
    ids, packing = torch.arange(8) % 5, Packing.of(groups, torch.device("cpu"))
    learners = []
    for most in (math.inf, 8, 1):
        learner = make_learner(model=model, supervision_steps=1, lr=1e-4)
        learner.chunk_tokens = most
        lengths = []
        learner.model.register_forward_hook(lambda module, given, output, n=lengths: n.append(given[0].shape[1]))
        learner.metrics = train_step(learner, PACKED, 8, lambda n: Batch(*tokens, ids, ids % 8, packing))
        assert lengths == {math.inf: [28], 8: [8, 8, 6, 6], 1: [2] * 5 + [6] * 3}[most]
        learners.append(learner)
    for other in learners[1:]:
        torch.testing.assert_close(other.metrics[:-1], learners[0].metrics[:-1])
        torch.testing.assert_close(other.slots[PACKED].state, learners[0].slots[PACKED].state)
        torch.testing.assert_close(other.table, learners[0].table)
        for a, b in zip(learners[0].optimizer.state.values(), other.optimizer.state.values(), strict=True):
            torch.testing.assert_close(a["m"], b["m"])


def test_a_dropped_step_can_be_done_again() -> None:
    """As when a signal comes within a step of minutes: no trace of its first half is left."""
    learner, once = make_learner(), make_learner()
    for one in (learner, once):
        train_step(one, CANVAS, 4, make_batch)

    @contextmanager
    def dropped() -> Iterator[None]:
        yield
        raise TimeoutError

    with pytest.raises(TimeoutError):
        learner.step(CANVAS, 0.0, dropped())
    for one in (learner, once):
        one.step(CANVAS)
    assert learner.step_count == once.step_count == 2
    assert all(torch.equal(a, b) for a, b in zip(learner.model.parameters(), once.model.parameters(), strict=True))
    torch.testing.assert_close(learner.slots[CANVAS].state, once.slots[CANVAS].state, atol=0, rtol=0)


@pytest.mark.parametrize("row_optimizer", ["sign_sgd", "adam_atan2"])
def test_states_are_computed_again_from_examples(row_optimizer: str) -> None:
    """To the bit, as the weights stay here. Of slots that have halted they are not needed."""
    learner = make_learner(lr=0.0, row_lr=0.0, row_optimizer=row_optimizer, supervision_steps=3, exploration=0.0)
    learner.chunk_tokens = 2 * (1 + 6)
    for step in range(2):
        train_step(learner, CANVAS, 5, make_batch)
        learner.slots[CANVAS].steps[:2] += 1 - step  # these two halt first
    slots = learner.slots[CANVAS]
    assert slots.halted.tolist() == [True, True, False, False, False]
    expected = State(*(part.clone() for part in slots.state))
    slots.state = State(*(part.clone() for part in learner.model.fresh_state(5, CANVAS)))
    learner.recompute_states(CANVAS)
    for again, before in zip(slots.state, expected, strict=True):
        torch.testing.assert_close(again[2:], before[2:])
        assert not torch.equal(again[:2], before[:2])


def test_clipping_bounds_the_gradient_it_measures() -> None:
    for clip_norm in (None, 1e-3):
        learner = make_learner(clip_norm=clip_norm)
        train_step(learner, CANVAS, 2, lambda count: make_batch(count))
        assert (learner.gradient_norm is None) == (clip_norm is None)
    assert learner.gradient_norm is not None
    assert learner.gradient_norm > 1e-3  # before clipping


@pytest.mark.parametrize("row_optimizer", ["sign_sgd", "adam_atan2"])
def test_frozen_trunk_stays_while_rows_move(row_optimizer: str) -> None:
    learner = make_learner(row_optimizer=row_optimizer)
    with torch.no_grad():
        learner.model.halting_weight.normal_()
    before = [p.clone() for p in learner.model.parameters()]
    learner.freeze_trunk(True)
    train_step(learner, CANVAS, 3, lambda count: make_batch(count))
    assert all(torch.equal(a, b) for a, b in zip(before, learner.model.parameters(), strict=True))
    assert learner.table[:3].abs().min() > 0
    assert torch.equal(learner.table[3:], torch.zeros(2, 16))
    learner.freeze_trunk(False)
    train_step(learner, CANVAS, 3, lambda count: make_batch(count))
    assert not torch.equal(before[0], next(learner.model.parameters()))


def test_average_starts_before_the_first_step() -> None:
    learner = make_learner(ema_decay=0.9)
    start = learner.model.output_head.weight.detach().clone()
    train_step(learner, CANVAS, 2, lambda count: make_batch(count))
    expected = 0.9 * start + 0.1 * learner.model.output_head.weight.detach()
    torch.testing.assert_close(learner.averaged()[0].output_head.weight.detach(), expected)


@pytest.mark.parametrize("row_optimizer", ["sign_sgd", "adam_atan2"])
def test_float16_is_scaled_and_an_overflow_moves_nothing(row_optimizer: str) -> None:
    learner = make_learner(row_optimizer=row_optimizer)
    learner = Learner(learner.model, learner.table, learner.config, learner.generator, torch.float16)
    before, table = learner.model.token_embedding.detach().clone(), learner.table.detach().clone()
    learner.scaler.load_state_dict({**learner.scaler.state_dict(), "scale": 1e30})
    train_step(learner, CANVAS, 3, lambda count: make_batch(count))
    assert torch.equal(learner.model.token_embedding, before)
    assert torch.equal(learner.table, table)
    learner.scaler.load_state_dict({**learner.scaler.state_dict(), "scale": 2.0**10})
    train_step(learner, CANVAS, 3, lambda count: make_batch(count))
    assert not torch.equal(learner.model.token_embedding, before)
    assert learner.model.token_embedding.isfinite().all()


def test_rate_warms_up_and_then_follows_its_schedule() -> None:
    learner = make_learner(warmup_steps=4, schedule="cosine", lr_min_ratio=0.5)
    assert learner.lr_factor(0.0) == pytest.approx(0.25)
    learner.step_count = 3
    assert [learner.lr_factor(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.75, 0.5])
    assert make_learner().lr_factor(1.0) == 1.0


@pytest.mark.slow
def test_learner_learns_what_can_be_learned() -> None:
    """A fixed batch is soon known by heart."""
    learner = make_learner(lr=3e-3, weight_decay=0.0, loss="softmax")
    batch = make_batch(4)
    losses = [
        train_step(learner, CANVAS, 4, lambda count: some(batch, learner.slots[CANVAS].halted)).token_loss.item()
        for _ in range(250)
    ]
    assert losses[-1] < 0.3 * losses[0]
