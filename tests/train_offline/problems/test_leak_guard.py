"""The leak guard: the same content is recognized under every symmetry and renaming of colours, and nothing else is."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.tasks.task import Pair, Task
from train_offline.problems.leak_guard import (
    Guard,
    HeldOut,
    LeakedPair,
    LeakReport,
    canonical,
    known_tests,
    outline,
)

TURNS: list[Callable[[np.ndarray], np.ndarray]] = [  # written apart from kernels.symmetry, to check against
    lambda grid: grid,
    lambda grid: np.rot90(grid, 1),
    lambda grid: np.rot90(grid, 2),
    lambda grid: np.rot90(grid, 3),
    lambda grid: np.fliplr(grid),
    lambda grid: np.fliplr(np.rot90(grid, 1)),
    lambda grid: np.fliplr(np.rot90(grid, 2)),
    lambda grid: np.fliplr(np.rot90(grid, 3)),
]
QUICK = settings(max_examples=150)


@st.composite
def grids(draw: st.DrawFn, side: int = 5, colours: int = 10) -> np.ndarray:
    height, width = draw(st.integers(1, side)), draw(st.integers(1, side))
    cells = draw(st.lists(st.integers(0, colours - 1), min_size=height * width, max_size=height * width))
    return np.array(cells, dtype=np.uint8).reshape(height, width)


pairs = st.builds(Pair, grids(), grids())
few = st.builds(Pair, grids(side=2, colours=2), grids(side=2, colours=3))  # so few that many are alike by chance
turns = st.integers(0, 7)
renamings = st.permutations(range(10)).map(lambda p: np.array(p, dtype=np.uint8))


def changed(pair: Pair, turn: int, renaming: np.ndarray) -> Pair:
    assert pair.output is not None
    return Pair(renaming[TURNS[turn](pair.input)], renaming[TURNS[turn](pair.output)])


def renamed(a: Pair, b: Pair) -> bool:
    """Whether one renaming of colours turns a into b, as they lie."""
    assert a.output is not None
    assert b.output is not None
    if (a.input.shape, a.output.shape) != (b.input.shape, b.output.shape):
        return False
    both = zip([*a.input.flat, *a.output.flat], [*b.input.flat, *b.output.flat], strict=True)
    matches = {(int(x), int(y)) for x, y in both}
    return len(matches) == len({x for x, _ in matches}) == len({y for _, y in matches})


def alike(a: Pair, b: Pair) -> bool:
    return any(renamed(changed(a, turn, np.arange(10, dtype=np.uint8)), b) for turn in range(8))


@QUICK
@given(pairs, turns, renamings)
def test_symmetries_and_colours_change_nothing(pair: Pair, turn: int, renaming: np.ndarray) -> None:
    other = changed(pair, turn, renaming)
    assert canonical(other) == canonical(pair)
    assert outline(other) == outline(pair)


@pytest.mark.slow
@settings(max_examples=300)
@given(few, few)
def test_only_pairs_of_the_same_content_are_equal(a: Pair, b: Pair) -> None:
    assert (canonical(a) == canonical(b)) == alike(a, b)
    assert outline(a) == outline(b) or not alike(a, b)


@QUICK
@given(pairs, turns, renamings, st.data())
def test_one_changed_cell_is_seen(pair: Pair, turn: int, renaming: np.ndarray, data: st.DataObject) -> None:
    other = changed(pair, turn, renaming)
    assert other.output is not None
    output = other.output.copy()
    output.flat[data.draw(st.integers(0, output.size - 1))] = data.draw(st.integers(0, 9))
    other = Pair(other.input, output)
    assert (canonical(other) == canonical(pair)) == alike(other, pair)


def test_an_unknown_output_cannot_be_compared() -> None:
    pair = Pair(np.zeros((1, 1), np.uint8), None)
    for function in (canonical, outline, Guard([]).find):
        with pytest.raises(ValueError, match="output"):
            function(pair)


def random_pairs(count: int, rng: np.random.Generator) -> list[Pair]:
    sizes = rng.integers(2, 13, (count, 4))
    return [
        Pair(rng.integers(0, 10, size[:2], dtype=np.uint8), rng.integers(0, 10, size[2:], dtype=np.uint8))
        for size in sizes
    ]


def test_the_guard_names_what_it_finds() -> None:
    rng = np.random.default_rng(0)
    first, second, third, other = random_pairs(4, rng)
    tasks = [Task("a", (other,), (first, Pair(second.input, None), third)), Task("b", (other,), (second, first))]
    names = known_tests("held", tasks)
    assert [name for name, _ in names] == [
        HeldOut("held", *place) for place in (("a", 0), ("a", 2), ("b", 0), ("b", 1))
    ]
    guard = Guard(names)
    turned = [changed(pair, 3, rng.permutation(10).astype(np.uint8)) for pair in (first, second, third, other)]
    found = [HeldOut("held", "a", 0), HeldOut("held", "b", 0), HeldOut("held", "a", 2), None]
    assert [guard.find(pair) for pair in turned] == found


def test_pairs_of_one_outline_are_told_apart() -> None:
    held = Pair(np.array([[1, 2, 3, 1]], np.uint8), np.array([[1]], np.uint8))
    other = Pair(np.array([[1, 1, 2, 3]], np.uint8), np.array([[1]], np.uint8))
    assert outline(held) == outline(other)
    guard = Guard([(HeldOut("held", "a", 0), held)])
    assert guard.find(held) is not None
    assert guard.find(other) is None


def test_a_large_corpus_costs_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    held, corpus = random_pairs(200, rng), random_pairs(10_000, rng)
    guard = Guard((HeldOut("held", "a", index), pair) for index, pair in enumerate(held))
    compared: list[Pair] = []

    def counted(pair: Pair) -> bytes:
        compared.append(pair)
        return canonical(pair)

    monkeypatch.setattr("train_offline.problems.leak_guard.canonical", counted)
    assert not any(guard.find(pair) for pair in corpus)
    assert len(compared) < 100, "nearly all differ in their outlines"
    assert guard.find(changed(held[7], 5, rng.permutation(10).astype(np.uint8))) == HeldOut("held", "a", 7)


@pytest.mark.parametrize("allowed", [False, True])
def test_the_report_counts_and_says_what_was_done(allowed: bool) -> None:
    held = HeldOut("held\n", "a", 1)
    report = LeakReport(
        guarded=[("held\n", 3), ("blind", 0)],
        shared_ids=[("full", "a")],
        pairs=[
            LeakedPair("full", "a", "test[0]", held),
            LeakedPair("full", "a", "test[1]", None),
            LeakedPair("full", "a", "train[0]", held),
            LeakedPair("more", "b", "[3]", held),
        ],
        emptied=[("more", "b")],
        duplicates=[("more", "c", "full")],
        allowed=allowed,
    )
    assert report.shared_content == (("full", "a"), ("more", "b"))
    assert report.document()["pairs_dropped"] == (0 if allowed else 4)
    lines = report.lines()
    assert all(line.isprintable() for line in lines)
    assert "3 of held\\n, 0 of blind" in lines[0]
    assert "share an id with a held-out task: 1; that hold a held-out test pair: 2" in lines[1]
    assert ("TRAINED ON" in lines[2]) == allowed
    assert "3 pairs by content, 1 by id alone" in lines[2]
    document = report.document()
    assert document["leaks_allowed"] == allowed
    assert document["leaked_pairs"][1] == {"corpus": "full", "task": "a", "pair": "test[1]", "equals": None}
    assert document["leaked_pairs"][3]["equals"] == {"source": "held\\n", "task": "a", "test": 1}
    assert document["duplicates"] == [{"corpus": "more", "task": "c", "kept_in": "full"}]
