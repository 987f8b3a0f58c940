"""The packed stream: every pair equally often, as a variant of its own, on its exact canvas."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from kernels.canvas import FIRST_COLOUR
from kernels.symmetry import apply_symmetry
from solver.model.packing import PACKED
from solver.settings.config import CanvasConfig, CanvasMode, LearnerConfig, TRMConfig
from solver.settings.presets import small_model
from solver.tasks.task import Pair, StoredPairs, Task
from solver.tokens.packed_stream import PackedStream, open_stream
from solver.tokens.shuffle import TaskExamples
from solver.tokens.variants import make_variants
from tests.solver.samples import MIRROR, TALL, grid

WIDE = Task("wide", (Pair(grid("1234567"), grid("7654321")), Pair(grid("12"), grid("21"))), (Pair(grid("1"), None),))
TASKS = [MIRROR, TALL, WIDE]
PAIRS = sum(len(task.train) for task in TASKS)


def make_stream(
    device: torch.device, step_tokens: int = 60, pairs: Sequence[Sequence[Pair]] = tuple(task.train for task in TASKS)
) -> PackedStream:
    variants = [make_variants(task.id, 64, seed=0) for task in TASKS]
    examples = [
        TaskExamples(p, v, 1000 * n + np.arange(64), demonstrations=task.train)
        for n, (task, p, v) in enumerate(zip(TASKS, pairs, variants, strict=True))
    ]
    return PackedStream(examples, CanvasConfig("exact"), step_tokens, 0, device)


def test_examples_are_pairs_in_variants_that_fill_their_canvas(device: torch.device) -> None:
    batch = make_stream(device).draw(PACKED, 200)
    assert batch.packing is not None
    seen, symmetries = Counter[tuple[str, int]](), set[int]()
    sample = place = 0
    for count, (height, width) in batch.packing.groups:
        for _ in range(count):
            cells = slice(place, place + height * width)
            inputs, labels = (part[0, cells].view(height, width).cpu().numpy() for part in (batch.inputs, batch.labels))
            symmetry, (number, variant) = int(batch.symmetry[sample]), divmod(int(batch.ids[sample]), 1000)
            task, variants = TASKS[number], make_variants(TASKS[number].id, 64, seed=0)
            assert variants.symmetry[variant] == symmetry
            permutation = variants.permutation[variant]
            found = [
                place_of_pair
                for place_of_pair, pair in enumerate(task.train)
                if holds(inputs, permutation[apply_symmetry(pair.input, symmetry)])
                and holds(labels, permutation[apply_symmetry(pair.output, symmetry)])
            ]
            assert len(found) == 1, (task.id, inputs, labels)
            seen[task.id, found[0]] += 1
            symmetries.add(symmetry)
            place, sample = cells.stop, sample + 1
    assert sample == 200
    assert place == batch.inputs.shape[1] == len(batch.packing.sample)
    assert symmetries == set(range(8))
    assert len(seen) == PAIRS
    assert max(seen.values()) - min(seen.values()) <= 1  # passes over all pairs


def holds(tokens: np.ndarray, cells: np.ndarray) -> bool:
    """Whether the colours of a canvas are exactly this grid, at the origin."""
    height, width = cells.shape
    return (tokens >= FIRST_COLOUR).sum() == cells.size and (tokens[:height, :width] == cells + FIRST_COLOUR).all()


def test_a_stream_continues_at_its_position(device: torch.device) -> None:
    whole, resumed = make_stream(device), make_stream(device)
    whole.draw(PACKED, 13)
    resumed.seek(orjson.loads(orjson.dumps(whole.position())))
    assert torch.equal(whole.draw(PACKED, 50).inputs, resumed.draw(PACKED, 50).inputs)


def test_ranks_share_what_one_process_would_draw(device: torch.device) -> None:
    def drawn(*parts: slice) -> list[list[int]]:
        batches = [make_stream(device).draw(PACKED, 9, part) for part in parts]
        return sorted(row for b in batches for row in torch.column_stack([b.ids, b.symmetry]).tolist())

    assert drawn(slice(None)) == drawn(slice(0, 4), slice(4, 9))


def test_a_step_holds_its_tokens_on_average_and_can_be_halved(device: torch.device) -> None:
    stream = make_stream(device)
    mean = sum(share * height * width for (height, width), share in stream.shares().items())
    assert sum(stream.shares().values()) == pytest.approx(1)
    assert stream.tokens(PACKED) == int(np.ceil(mean))
    before = stream.slot_count(PACKED)
    assert before == round(60 / stream.tokens(PACKED))
    stream.halve(PACKED)
    assert stream.slot_count(PACKED) == before // 2
    assert stream.leave_out([])
    assert not stream.leave_out([PACKED])  # not a single example fits


@pytest.mark.parametrize(
    ("mode", "model", "steps", "packed"),
    [
        ("exact", small_model(32), 1, True),
        ("tight", small_model(32), 1, False),
        ("exact", small_model(32), 2, False),  # with states carried over, examples stay in their slots
        ("exact", replace(small_model(32), halting="binary"), 1, False),
        ("exact", TRMConfig(width=32, heads=2, row_width=32), 1, False),
    ],
)
def test_what_halts_together_is_packed(mode: CanvasMode, model: TRMConfig, steps: int, packed: bool) -> None:
    examples = [TaskExamples(MIRROR.train, make_variants("mirror", 8, 0), np.arange(8))]
    canvases, learner = CanvasConfig(mode), LearnerConfig(supervision_steps=steps)
    stream = open_stream(examples, model, learner, canvases, 100, 0, torch.device("cpu"))
    assert isinstance(stream, PackedStream) == packed
    canvas, slots = stream.next_step()
    assert len(stream.draw(canvas, slots).ids) == slots


def test_pairs_in_a_file_give_the_same_examples(device: torch.device, tmp_path: Path) -> None:
    """Loose pairs of one task, those of an array and those of a mapped file of two others."""
    tall, wide = (StoredPairs.of(task.train) for task in (TALL, WIDE))
    path = tmp_path / "cells.bin"
    path.write_bytes(wide.grids.cells.tobytes())
    mapped = StoredPairs(wide.grids._replace(cells=np.asarray(np.memmap(path, np.uint8, "c"))))
    ours, theirs = make_stream(device), make_stream(device, pairs=(MIRROR.train, tall, mapped))
    assert ours.shares() == theirs.shares()
    for _ in range(3):
        a, b = (stream.draw(PACKED, 60) for stream in (ours, theirs))
        assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))
    assert tuple(mapped) == WIDE.train
    assert tuple(mapped[:1]) == WIDE.train[:1]
