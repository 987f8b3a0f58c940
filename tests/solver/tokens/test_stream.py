"""The stream: every pair equally often, as its variant, where it fits."""

from collections import Counter

import numpy as np
import orjson
import pytest
import torch

from kernels.canvas import FIRST_COLOUR, IGNORE, PAD
from kernels.symmetry import apply_symmetry
from solver.settings.config import CanvasConfig, CanvasMode
from solver.tasks.task import Pair, Task
from solver.tokens.shuffle import TaskExamples
from solver.tokens.stream import PairStream
from solver.tokens.variants import make_variants
from tests.solver.samples import MIRROR, TALL, grid

WIDE = Task("wide", (Pair(grid("1234567"), grid("7654321")),), (Pair(grid("1"), None),))
TASKS = [MIRROR, TALL, WIDE]


def make_stream(
    device: torch.device, mode: CanvasMode = "tight", count: int = 16, seed: int = 0, first_weight: float = 1.0
) -> PairStream:
    examples = []
    for number, task in enumerate(TASKS):
        variants = make_variants(task.id, count, seed=0)
        rows = np.arange(len(variants)) + 1000 * number
        examples.append(TaskExamples(task.train, variants, rows, 1.0 if number else first_weight))
    return PairStream(examples, CanvasConfig(mode), 300, 4, seed, device)


@pytest.mark.parametrize("mode", ["tight", "full"])
def test_examples_are_pairs_of_the_tasks_as_their_variants(device: torch.device, mode: CanvasMode) -> None:
    stream = make_stream(device, mode)
    for canvas in stream.canvases:
        batch = stream.draw(canvas, 20)
        for inputs, labels, row, symmetry in zip(*(part.cpu().numpy() for part in batch[:-1]), strict=True):
            task = TASKS[row // 1000]
            variant = make_variants(task.id, 16, seed=0)
            assert variant.symmetry[row % 1000] == symmetry
            permutation = variant.permutation[row % 1000]
            found = [
                contains(inputs.reshape(canvas), turned(pair.input, symmetry, permutation))
                and contains(labels.reshape(canvas), turned(pair.output, symmetry, permutation))
                for pair in task.train
            ]
            assert any(found)
            assert (inputs != IGNORE).all()
            assert (labels != PAD).all()


def turned(cells: np.ndarray, symmetry: int, permutation: np.ndarray) -> np.ndarray:
    return permutation[apply_symmetry(cells, symmetry)]


def contains(tokens: np.ndarray, cells: np.ndarray) -> bool:
    """Whether the colour tokens of a canvas are exactly this grid, somewhere."""
    places = np.argwhere(tokens >= FIRST_COLOUR)
    (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0) + 1
    return np.array_equal(tokens[top:bottom, left:right] - FIRST_COLOUR, cells)


def test_every_pair_is_drawn_equally_often() -> None:
    stream, seen = make_stream(torch.device("cpu")), Counter()
    for _ in range(600):
        batch = stream.draw(*stream.next_step())
        seen.update((batch.ids // 1000).tolist())
    share = {task: seen[task] / sum(seen.values()) for task in range(3)}
    assert [share[t] for t in range(3)] == pytest.approx([3 / 6, 2 / 6, 1 / 6], abs=0.04)


@pytest.mark.parametrize("weight", [0.25, 1.5, 1e-12])
def test_a_weight_is_how_often_a_task_is_visited(device: torch.device, weight: float) -> None:
    stream, seen = make_stream(device, "full", first_weight=weight), Counter()
    seen.update((stream.draw((30, 30), 6000).ids // 1000).tolist())
    pairs = np.array([3 * weight, 2, 1])
    assert [seen[t] / 6000 for t in range(3)] == pytest.approx(pairs / pairs.sum(), abs=0.02)


def test_a_visit_is_one_variant_of_a_task_with_all_its_pairs(device: torch.device) -> None:
    """As the published sampler draws: tasks in random order, one random variant of each, its pairs shuffled."""
    batch = make_stream(device, "full").draw((30, 30), 6 * 50)
    ids, tokens = batch.ids.tolist(), batch.inputs.cpu().numpy()
    place, orders = 0, set()
    for _ in range(50):  # passes over the three tasks
        visited = set()
        for _ in range(3):
            task = ids[place] // 1000
            pairs = len(TASKS[task].train)
            assert set(ids[place : place + pairs]) == {ids[place]}
            grids = {tokens[k][tokens[k] >= FIRST_COLOUR].tobytes() for k in range(place, place + pairs)}
            assert len(grids) == pairs
            visited.add(task)
            place += pairs
        assert visited == {0, 1, 2}
        orders.add(tuple(ids[place - 6 : place]))
    assert len(orders) > 25


def test_a_stream_goes_on_from_its_position(device: torch.device) -> None:
    def draws(stream: PairStream) -> list[torch.Tensor]:
        return [stream.draw(stream.next_step()[0], 700).inputs for _ in range(5)]

    whole, resumed = make_stream(device), make_stream(device)
    draws(whole)
    resumed.seek(orjson.loads(orjson.dumps(whole.position())))
    assert all(torch.equal(a, b) for a, b in zip(draws(whole), draws(resumed), strict=True))


def test_ranks_share_what_one_process_would_draw(device: torch.device) -> None:
    canvas = (4, 8)
    whole = make_stream(device).draw(canvas, 7)
    parts = [make_stream(device).draw(canvas, 7, part) for part in (slice(0, 3), slice(3, 7))]
    for column, *shares in zip(whole[:-1], *(part[:-1] for part in parts), strict=True):
        assert torch.equal(column, torch.cat(shares))


def test_steps_cost_about_the_same_and_small_canvases_hold_more(device: torch.device) -> None:
    stream = make_stream(device)
    slots = {canvas: stream.slot_count(canvas) for canvas in stream.canvases}
    assert slots == {(4, 4): 300 // 20, (4, 8): 300 // 36, (8, 4): 300 // 36}
    shares = make_stream(device, count=8).shares()  # as the docstring of PairStream counts them
    assert shares == pytest.approx({(4, 4): 100 / 136, (4, 8): 18 / 136, (8, 4): 18 / 136})
    assert make_stream(device, "full").slot_count((30, 30)) == 1  # at least one


def test_the_stream_is_a_function_of_its_seed(device: torch.device) -> None:
    def draws(seed: int) -> list[list[int]]:
        stream = make_stream(device, seed=seed)
        return [stream.draw(stream.next_step()[0], 5).inputs.flatten().tolist() for _ in range(4)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_translation_moves_pairs_but_not_all(device: torch.device) -> None:
    stream = make_stream(device, "full")
    corner = stream.draw((30, 30), 200).inputs[:, 0].cpu().numpy() >= FIRST_COLOUR
    assert 0.1 < corner.mean() < 0.7  # one of each task's pairs stays at the origin: 1/3, 1/2 and 1 here


def test_without_turning_variants_nothing_is_turned(device: torch.device) -> None:
    stream = make_stream(device, count=1)
    assert set(stream.canvases) == {(4, 4), (4, 8)}
    assert stream.draw((4, 8), 3).symmetry.tolist() == [0, 0, 0]
