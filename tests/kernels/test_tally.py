"""Undoing augmentations, keys and counts: the way back to the grid, and the three twins held equal."""

from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import canvas, tally, tally_numba, tally_torch
from kernels.canvas import END_OF_GRID, colours_of, pack, unpack
from kernels.symmetry import COLOURS, MAX_SIDE, SYMMETRIES, random_permutations
from kernels.tally import SHAPE, ZOBRIST, Counts, restore

TWINS = [tally, tally_numba, tally_torch]
QUICK = settings(max_examples=40)
IDENTITY = np.arange(COLOURS)
twins = pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
sides = st.one_of(st.sampled_from([1, MAX_SIDE]), st.integers(1, MAX_SIDE))
seeds = st.integers(0, 2**32 - 1)
words = st.one_of(st.integers(-2, 2), st.sampled_from([-(2**63), 2**63 - 1]))


def call(twin: ModuleType, device: torch.device, name: str, *arguments: np.ndarray, **options: str) -> Any:
    """What the twin's function returns, as numpy arrays (or Counts of them)."""
    function = getattr(twin, name)
    if twin is not tally_torch:
        return function(*arguments, **options)
    result = function(*(torch.tensor(argument, device=device) for argument in arguments), **options)
    return Counts(*(part.cpu().numpy() for part in result)) if name != "keys" else result.cpu().numpy()


def augmented(shapes: list[tuple[int, int]], seed: int, canvas_size: tuple[int, int] = (30, 30)) -> tuple[Any, ...]:
    """(grids, index, tokens, symmetry, permutation): every grid under every symmetry, each with its own colours."""
    rng = np.random.default_rng(seed)
    grids = pack([rng.integers(0, COLOURS, shape) for shape in shapes])
    index, symmetry = (axis.ravel() for axis in np.indices((len(shapes), SYMMETRIES)))
    permutation = random_permutations(len(index), rng, keep_black=False)
    origin = np.zeros_like(index)
    return (
        grids,
        index,
        canvas.encode(grids, index, symmetry, permutation, origin, origin, canvas_size),
        symmetry,
        permutation,
    )


def assert_counts_equal(actual: Counts, expected: Counts) -> None:
    assert [part.dtype for part in actual] == [np.int64, np.int64, np.int64, np.int64, np.float64]
    for part, right in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(part, right)


@QUICK
@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=3), seeds)
def test_augmented_grids_come_back(shapes: list[tuple[int, int]], seed: int) -> None:
    grids, index, tokens, symmetry, permutation = augmented(shapes, seed)
    for decode in (canvas.robust_sizes, canvas.published_sizes):
        sizes = decode(tokens)
        for b in range(len(index)):
            grid = restore(colours_of(tokens)[b], sizes[b], symmetry[b], permutation[b])
            assert grid.dtype == np.uint8
            np.testing.assert_array_equal(grid, unpack(grids, index[b]))


@twins
def test_a_key_belongs_to_the_grid_and_not_to_its_augmentation(twin: ModuleType, device: torch.device) -> None:
    _, index, tokens, symmetry, permutation = augmented([(3, 5), (30, 30), (5, 3), (1, 1)], seed=1)
    keys = call(twin, device, "keys", colours_of(tokens), canvas.robust_sizes(tokens), symmetry, permutation)
    of_grid = [set(keys[index == number]) for number in range(4)]
    assert [len(keys) for keys in of_grid] == [1, 1, 1, 1]
    assert len(set.union(*of_grid)) == 4


@twins
def test_keys_are_sums_that_wrap(twin: ModuleType, device: torch.device) -> None:
    colours = np.random.default_rng(0).integers(0, COLOURS, (1, 30, 30)).astype(np.uint8)
    exact = sum(int(ZOBRIST[r, c, colours[0, r, c]]) for r, c in np.ndindex(30, 30)) + int(SHAPE[30, 30])
    wrapped = (exact + 2**63) % 2**64 - 2**63
    assert wrapped != exact  # else this shows nothing
    keys = call(twin, device, "keys", colours, np.array([[30, 30]]), np.array([0]), IDENTITY[None])
    assert keys.dtype == np.int64
    assert keys.tolist() == [wrapped]


@twins
def test_keys_tell_grids_apart_and_heed_nothing_else(twin: ModuleType, device: torch.device) -> None:
    colours = np.zeros((5, 4, 4), dtype=np.uint8)
    colours[1, 3, 3] = 5  # outside the grid: no difference
    colours[2, 1, 0] = 5  # inside
    sizes = np.array([[2, 3], [2, 3], [2, 3], [3, 2], [0, 0]])
    keys = call(twin, device, "keys", colours, sizes, np.zeros(5, int), np.tile(IDENTITY, (5, 1)))
    assert keys[0] == keys[1]
    assert len(set(keys[1:])) == 4
    assert keys[4] == 0


@QUICK
@given(sides, sides, seeds)
def test_keys_agree(device: torch.device, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = 2 * SYMMETRIES
    colours = rng.integers(0, COLOURS, (samples, height, width)).astype(np.uint8)
    sizes = np.stack([rng.integers(0, height + 1, samples), rng.integers(0, width + 1, samples)], axis=1)
    arguments = (colours, sizes, np.arange(samples) % SYMMETRIES, random_permutations(samples, rng, keep_black=False))
    meaning = tally.keys(*arguments)
    for twin in TWINS[1:]:
        np.testing.assert_array_equal(call(twin, device, "keys", *arguments), meaning)


@QUICK
@given(st.lists(st.tuples(words, words, st.booleans(), st.floats(0, 1, width=32)), max_size=60))
def test_counts_against_a_counter(device: torch.device, votes: list[tuple[int, int, bool, float]]) -> None:
    kept = [(number, (group, key), halting) for number, (group, key, valid, halting) in enumerate(votes) if valid]
    counter = Counter(pair for _, pair, _ in kept)  # in order of first occurrence
    means = [np.mean([halting for _, other, halting in kept if other == pair]) for pair in counter]
    dtype = [("group", np.int64), ("key", np.int64), ("valid", bool), ("halting", np.float32)]
    table = np.array(votes, dtype=dtype)
    arguments = [table[name].copy() for name, _ in dtype]
    meaning = tally.count(*arguments)
    for twin in TWINS:
        counts = call(twin, device, "count", *arguments)
        assert list(zip(counts.group.tolist(), counts.key.tolist(), strict=True)) == list(counter)
        assert counts.votes.tolist() == list(counter.values())
        assert counts.first.tolist() == [next(n for n, other, _ in kept if other == pair) for pair in counter]
        np.testing.assert_allclose(counts.halting, means, rtol=0, atol=2**-40)
        assert_counts_equal(counts, meaning)


@QUICK
@given(st.lists(st.tuples(sides, sides), min_size=1, max_size=3), seeds, st.sampled_from(["robust", "published"]))
def test_tallies_agree(device: torch.device, shapes: list[tuple[int, int]], seed: int, decoder: str) -> None:
    rng = np.random.default_rng(seed)
    _, index, tokens, symmetry, permutation = augmented(shapes, seed)
    stray = rng.random(tokens.shape) < 0.5 / (shapes[0][0] * shapes[0][1])
    tokens = np.where(stray, rng.integers(0, 12, tokens.shape), tokens).astype(np.int8)
    colours = rng.integers(0, COLOURS, tokens.shape).astype(np.uint8)
    colours = np.where(stray, colours, colours_of(tokens))
    arguments = (tokens, colours, symmetry, permutation, index % 2, rng.random(len(index)))
    meaning = tally.tally(*arguments, decoder=decoder)  # type: ignore[arg-type]
    assert meaning.votes.sum() <= len(index)
    for twin in TWINS[1:]:
        assert_counts_equal(call(twin, device, "tally", *arguments, decoder=decoder), meaning)


@twins
def test_a_tally_by_hand(twin: ModuleType, device: torch.device) -> None:
    """Eight views of a grid in one group; one has a stray token, whose colour the network knows all the same."""
    grids, _, tokens, symmetry, permutation = augmented([(4, 6)], seed=2, canvas_size=(8, 8))
    colours = colours_of(tokens)
    tokens[3, 2, 1] = END_OF_GRID
    halting = np.linspace(0, 0.875, SYMMETRIES)
    arguments = (tokens, colours, symmetry, permutation, np.full(SYMMETRIES, 7), halting)
    counts = call(twin, device, "tally", *arguments)
    assert [part.tolist() for part in (counts.group, counts.first, counts.votes, counts.halting)] == [
        [7],
        [0],
        [8],
        [0.4375],
    ]
    first = restore(colours[0], canvas.robust_sizes(tokens)[0], symmetry[0], permutation[0])
    np.testing.assert_array_equal(first, unpack(grids, 0))
    cut = call(twin, device, "tally", *arguments, decoder="published")
    assert cut.votes.tolist() == [7, 1]
    assert cut.first.tolist() == [0, 3]


@twins
def test_empty_predictions_are_dropped(twin: ModuleType, device: torch.device) -> None:
    tokens = np.zeros((2, 3, 3), dtype=np.int8)
    nothing = (tokens, colours_of(tokens), np.zeros(2, int), np.tile(IDENTITY, (2, 1)), np.zeros(2, int), np.zeros(2))
    for count in (2, 0):
        counts = call(twin, device, "tally", *(argument[:count] for argument in nothing))
        assert [part.shape for part in counts] == [(0,)] * 5


@twins
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"colours": np.full((2, 3, 3), 10, np.uint8)}, "colours: expected 0 to 9, got 10 to 10"),
        ({"sizes": np.array([[1, 1], [1, 4]])}, r"sample 1: size: expected within the canvas, got \[1, 4\]"),
        ({"sizes": np.array([[1, 1], [-1, 1]])}, r"sample 1: size: expected within the canvas, got \[-1, 1\]"),
        ({"sizes": np.array([1, 1])}, r"sizes: expected shape \(2, 2\), got \(2,\)"),
        ({"symmetry": np.array([0, -1])}, "sample 1: symmetry: expected 0 to 7, got -1"),
        ({"permutation": np.zeros((2, 10), int)}, "sample 0: permutation: expected each of 0 to 9 once"),
    ],
)
def test_keys_refuse_what_cannot_be(
    twin: ModuleType, device: torch.device, changed: dict[str, np.ndarray], message: str
) -> None:
    usable = {
        "colours": np.zeros((2, 3, 3), np.uint8),
        "sizes": np.ones((2, 2), int),
        "symmetry": np.zeros(2, int),
        "permutation": np.tile(IDENTITY, (2, 1)),
    }
    with pytest.raises(ValueError, match=message):
        call(twin, device, "keys", *(usable | changed).values())


@twins
@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan])
def test_counts_refuse_what_is_no_probability(twin: ModuleType, device: torch.device, bad: float) -> None:
    zeros = np.zeros(2, int)
    with pytest.raises(ValueError, match="sample 1: halting: expected a probability"):
        call(twin, device, "count", zeros, zeros, np.ones(2, bool), np.array([0.5, bad]))


def test_tables_are_the_same_on_every_machine() -> None:
    assert [int(ZOBRIST[0, 0, 0]), int(SHAPE[30, 30])] == [-7768569633443214189, -4875315911224682310]
