"""Packed samples: computed as if each were alone on its canvas."""

import torch
from torch import Tensor

from kernels.canvas import IGNORE, VOCABULARY
from solver.learning.learner import Learner
from solver.learning.loss import step_losses
from solver.model.packing import PACKED, Packing, totals
from solver.model.trm import TRM, Condition
from solver.settings.config import LearnerConfig
from solver.settings.presets import small_model
from solver.tokens.encode import Batch
from tests.solver.learning.steps import train_step

GROUPS = ((2, (3, 3)), (1, (1, 9)), (3, (1, 1)))  # the first two are equally long
SAMPLES = 6


def examples(device: torch.device) -> tuple[Packing, list[Batch], Batch]:
    """A batch per canvas, and the same samples packed."""
    packing = Packing.of(GROUPS, device)
    generator = torch.Generator().manual_seed(0)
    alone, first = [], 0
    for count, (height, width) in GROUPS:
        inputs, labels = torch.randint(0, VOCABULARY, (2, count, height * width), generator=generator).to(device)
        labels[:, 1:2] = IGNORE
        ids = torch.arange(first, first + count, device=device)
        alone.append(Batch(inputs, labels, ids, ids % 8))
        first += count
    flat = [torch.cat([b[field].flatten() for b in alone])[None] for field in (0, 1)]
    rest = [torch.cat([batch[field] for batch in alone]) for field in (2, 3)]
    return packing, alone, Batch(flat[0], flat[1], rest[0], rest[1], packing)


def test_packed_samples_are_computed_as_if_alone(device: torch.device) -> None:
    torch.manual_seed(0)
    model = TRM(small_model(32)).to(device)
    table = torch.randn(SAMPLES, 32, device=device)

    def losses(batch: Batch, canvas: tuple[int, int]) -> tuple[Tensor, ...]:
        place = batch.packing or canvas
        x = model.embed(batch.inputs, Condition(table[batch.ids], batch.symmetry), place)
        output = model(x, model.fresh_state(len(batch.ids), place), place)
        found = step_losses(output.logits, None, batch.labels, "softmax", packing=batch.packing)
        return output.logits.flatten(0, 1), output.halting, found.tokens, found.right

    packing, alone, packed = examples(device)
    apart = [losses(batch, canvas) for batch, (_, canvas) in zip(alone, GROUPS, strict=True)]
    for together, parts in zip(losses(packed, PACKED), zip(*apart, strict=True), strict=True):
        torch.testing.assert_close(together, torch.cat(parts), atol=1e-5, rtol=1e-5)
    cells = torch.ones(1, len(packing.sample), device=device)
    assert totals(cells, packing).tolist() == [9, 9, 9, 1, 1, 1]
    assert packing.equally_long == ((3, 9), (3, 1))


def test_every_packed_step_takes_new_examples_and_moves_the_rows(device: torch.device) -> None:
    (_, _, packed), asked = examples(device), list[int]()
    table = torch.nn.Parameter(torch.zeros(SAMPLES, 32, device=device))
    config = LearnerConfig(row_optimizer="adam_atan2", supervision_steps=1)
    taught = Learner(TRM(small_model(32)).to(device), table, config, torch.Generator())

    def draw(count: int) -> Batch:
        asked.append(count)
        return packed

    for _ in range(3):
        train_step(taught, PACKED, SAMPLES, draw)
    assert asked == [SAMPLES] * 3
    assert (taught.table != 0).any(dim=1).all()
