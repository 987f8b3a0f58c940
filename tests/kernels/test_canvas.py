"""Encoding and the two decoders: hand-made cases, an oracle that enumerates, and the three twins held equal."""

from types import ModuleType
from typing import Any

import numba.core.caching
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import canvas, canvas_numba, canvas_torch
from kernels.canvas import END_OF_GRID, FIRST_COLOUR, IGNORE, PAD, pack, unpack
from kernels.jit import jit
from kernels.symmetry import COLOURS, MAX_SIDE, SYMMETRIES, random_permutations

TWINS = [canvas, canvas_numba, canvas_torch]
QUICK = settings(max_examples=40)
IDENTITY = np.arange(COLOURS)
twins = pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
sides = st.one_of(st.sampled_from([1, MAX_SIDE]), st.integers(1, MAX_SIDE))
seeds = st.integers(0, 2**32 - 1)


def encoded(twin: ModuleType, device: torch.device, grids: canvas.PackedGrids, *rest: Any) -> np.ndarray:
    """What the twin's encode returns, as numpy."""
    if twin is canvas_torch:
        return twin.encode(canvas_torch.to_device(grids, device), *rest).cpu().numpy()
    return twin.encode(grids, *rest)


def sizes(twin: ModuleType, device: torch.device, decoder: str, tokens: np.ndarray) -> np.ndarray:
    """What the twin's decoder returns, as numpy."""
    decode = getattr(twin, f"{decoder}_sizes")
    return decode(torch.tensor(tokens, device=device)).cpu().numpy() if twin is canvas_torch else decode(tokens)


def placed(height: int, width: int, canvas_size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Tokens (1, H, W) of a random grid at the origin, padding elsewhere."""
    grid = np.random.default_rng(seed).integers(0, COLOURS, (height, width))
    zero = np.zeros(1, dtype=int)
    return canvas.encode(pack([grid]), zero, zero, IDENTITY[None], zero, zero, canvas_size)


def test_grids_survive_packing() -> None:
    shapes = [(1, 1), (2, 5), (30, 30), (30, 1)]
    grids = [np.random.default_rng(0).integers(0, COLOURS, shape) for shape in shapes]
    packed = pack(grids)
    assert [array.dtype for array in packed] == [np.uint8, np.int64, np.int32, np.int32]
    for number, grid in enumerate(grids):
        np.testing.assert_array_equal(unpack(packed, number), grid)
    assert len(pack([]).start) == 0


@pytest.mark.parametrize(
    "bad", [np.zeros(3, int), np.zeros((31, 1), int), np.zeros((0, 2), int), [[10]], [[-1]], [[0.5]]]
)
def test_packing_names_the_grid_that_is_none(bad: Any) -> None:
    with pytest.raises(ValueError, match="grid 1: expected"):
        pack([np.zeros((1, 1), int), bad])


@twins
def test_a_canvas_by_hand(twin: ModuleType, device: torch.device) -> None:
    grids = pack([np.array([[1, 2, 3], [4, 5, 6]])])
    swapped = np.array([[0, 9, 2, 3, 4, 5, 6, 7, 8, 1]])  # colour 1 becomes 9
    expected = [[0, 0, 0, 0, 0], [0, 5, 8, 1, 0], [0, 4, 7, 1, 0], [0, 11, 6, 1, 0], [0, 1, 1, 0, 0]]
    tokens = encoded(twin, device, grids, [0], [1], swapped, [1], [1], (5, 5))
    assert tokens.dtype == np.int8
    np.testing.assert_array_equal(tokens[0], expected)
    labels = encoded(twin, device, grids, [0], [1], swapped, [1], [1], (5, 5), IGNORE)
    np.testing.assert_array_equal(labels[0], np.where(np.array(expected) == PAD, IGNORE, expected))


@twins
def test_no_end_of_grid_beyond_the_canvas(twin: ModuleType, device: torch.device) -> None:
    grids = pack([np.zeros((2, 2), int)])
    tokens = encoded(twin, device, grids, [0] * 3, [0] * 3, np.tile(IDENTITY, (3, 1)), [1, 1, 0], [1, 0, 1], (3, 3))
    np.testing.assert_array_equal(tokens[0], [[0, 0, 0], [0, 2, 2], [0, 2, 2]])
    np.testing.assert_array_equal(tokens[1], [[0, 0, 0], [2, 2, 1], [2, 2, 1]])
    np.testing.assert_array_equal(tokens[2], [[0, 2, 2], [0, 2, 2], [0, 1, 1]])


@QUICK
@given(
    shapes=st.lists(st.tuples(sides, sides), min_size=1, max_size=4), seed=seeds, padding=st.sampled_from([PAD, IGNORE])
)
def test_encoding_twins_agree(device: torch.device, shapes: list[tuple[int, int]], seed: int, padding: int) -> None:
    rng = np.random.default_rng(seed)
    grids = pack([rng.integers(0, COLOURS, shape) for shape in shapes])
    index = np.repeat(np.arange(len(shapes)), SYMMETRIES)
    symmetry = np.tile(np.arange(SYMMETRIES), len(shapes))
    room = max(max(shape) for shape in shapes)
    canvas_size = (int(rng.integers(room, MAX_SIDE + 1)), int(rng.integers(room, MAX_SIDE + 1)))
    row, column = (
        rng.integers(0, canvas_size[0] - room + 1, len(index)),
        rng.integers(0, canvas_size[1] - room + 1, len(index)),
    )
    permutation = random_permutations(len(index), rng, keep_black=False)
    arguments = (grids, index, symmetry, permutation, row, column, canvas_size, padding)
    meaning = canvas.encode(*arguments)
    for twin in TWINS[1:]:
        tokens = encoded(twin, device, *arguments)
        assert tokens.dtype == np.int8
        np.testing.assert_array_equal(tokens, meaning)


@twins
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"row": 2}, r"sample 1: rows of offset \+ grid: expected at most 4, got 5"),
        ({"column": 3}, r"sample 1: columns of offset \+ grid: expected at most 4, got 5"),
        ({"symmetry": 1, "row": 3}, r"sample 1: rows of offset \+ grid: expected at most 4, got 5"),
        ({"row": -1}, "sample 1: rows of offset: expected 0 or more, got -1"),
        ({"index": 2}, "sample 1: index: expected 0 to 1, got 2"),
        ({"index": -1}, "sample 1: index: expected 0 to 1, got -1"),
        ({"symmetry": 8}, "sample 1: symmetry: expected 0 to 7, got 8"),
        ({"permutation": [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]}, "sample 1: permutation: expected each of 0 to 9 once"),
        ({"permutation": [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]}, "sample 1: permutation: expected each of 0 to 9 once"),
    ],
)
def test_encoding_names_the_first_bad_sample(
    twin: ModuleType, device: torch.device, changed: dict[str, Any], message: str
) -> None:
    grids = pack([np.zeros((1, 1), int), np.zeros((3, 2), int)])
    sample = {"index": 1, "symmetry": 0, "permutation": IDENTITY, "row": 0, "column": 0}
    batch = [
        np.array([sample[name], changed.get(name, sample[name]), changed.get(name, sample[name])]) for name in sample
    ]
    with pytest.raises(ValueError, match=message):
        encoded(twin, device, grids, *batch, (4, 4))


def rectangle_by_enumeration(tokens: np.ndarray, decoder: str) -> tuple[int, int]:
    """The decoders' rules on one small canvas, in the words of their docstrings."""
    best: tuple[int, ...] | None = None
    answer = (0, 0)
    for h, w in np.ndindex(tokens.shape[0] + 1, tokens.shape[1] + 1):
        inside, below, right = tokens[:h, :w] < FIRST_COLOUR, tokens[h : h + 1, :w] != 1, tokens[:h, w : w + 1] != 1
        if h * w == 0 or (inside.any() if decoder == "published" else 2 * inside.sum() > h * w):
            continue
        sides = (below.ravel(), right.ravel(), np.append(below, right))
        denied = any(side.sum() > 1 and 2 * side.sum() >= side.size for side in sides)
        contradictions = 0 if decoder == "published" else int(inside.sum() + below.sum() + right.sum())
        rank = (0 if decoder == "published" else denied, contradictions, -h * w, h)
        if best is None or rank < best:
            best, answer = rank, (h, w)
    return answer


@QUICK
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.sampled_from([0.1, 0.5, 0.9]),
    seeds,
    st.sampled_from(["robust", "published"]),
)
def test_decoders_against_enumeration(
    device: torch.device, height: int, width: int, colours: float, seed: int, decoder: str
) -> None:
    rng = np.random.default_rng(seed)
    shape = (10, height, width)
    tokens = np.where(rng.random(shape) < colours, rng.integers(2, 12, shape), rng.integers(0, 2, shape)).astype(
        np.int8
    )
    expected = [rectangle_by_enumeration(canvas_tokens, decoder) for canvas_tokens in tokens]
    for twin in TWINS:
        found = sizes(twin, device, decoder, tokens)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected)


@QUICK
@given(sides, sides, st.integers(0, 12), seeds, st.sampled_from(["robust", "published"]))
def test_decoding_twins_agree_on_spoilt_grids(
    device: torch.device, height: int, width: int, strays: int, seed: int, decoder: str
) -> None:
    rng = np.random.default_rng(seed)
    canvas_size = (int(rng.integers(height, MAX_SIDE + 1)), int(rng.integers(width, MAX_SIDE + 1)))
    tokens = np.repeat(placed(height, width, canvas_size, seed), 16, axis=0)
    noise = rng.integers(0, 12, tokens.shape)
    tokens = np.where((tokens == PAD) & (rng.random((16, 1, 1)) < 0.5), noise, tokens)  # what is never scored
    tokens = np.where(rng.random(tokens.shape) < strays / (height * width), noise, tokens).astype(np.int8)
    meaning = sizes(canvas, device, decoder, tokens)
    for twin in TWINS[1:]:
        np.testing.assert_array_equal(sizes(twin, device, decoder, tokens), meaning)


@twins
@pytest.mark.parametrize("canvas_size", [(8, 9), (6, 7), (6, 9), (30, 30)])
def test_clean_grids_are_read_by_both_decoders(
    twin: ModuleType, device: torch.device, canvas_size: tuple[int, int]
) -> None:
    tokens = placed(6, 7, canvas_size)
    for decoder in ("robust", "published"):
        np.testing.assert_array_equal(sizes(twin, device, decoder, tokens), [[6, 7]])


@twins
@pytest.mark.parametrize(
    ("size", "row", "column", "stray", "published"),
    [
        ((6, 7), 3, 2, END_OF_GRID, [3, 7]),  # inside: the scan stops above it
        ((6, 7), 0, 0, PAD, [0, 0]),  # at the origin: the scan finds nothing
        ((6, 7), 6, 3, FIRST_COLOUR, [6, 7]),  # below: one cell is no row of colours
        ((6, 7), 7, 8, FIRST_COLOUR, [6, 7]),  # outside: means nothing
        ((5, 1), 5, 0, FIRST_COLOUR, [6, 1]),  # below a thin grid: one cell is a row
    ],
)
def test_one_stray_token_cuts_the_published_scan_alone(
    twin: ModuleType,
    device: torch.device,
    size: tuple[int, int],
    row: int,
    column: int,
    stray: int,
    published: list[int],
) -> None:
    tokens = placed(*size, (10, 12))
    tokens[0, row, column] = stray
    np.testing.assert_array_equal(sizes(twin, device, "published", tokens), [published])
    np.testing.assert_array_equal(sizes(twin, device, "robust", tokens), [size])


@QUICK
@given(st.integers(3, MAX_SIDE), st.integers(3, MAX_SIDE), seeds)
def test_no_single_stray_token_cuts_the_robust_rule(device: torch.device, height: int, width: int, seed: int) -> None:
    """Whatever the padding holds, for grids of 3x3 and more."""
    rng = np.random.default_rng(seed)
    canvas_size = (int(rng.integers(height, MAX_SIDE + 1)), int(rng.integers(width, MAX_SIDE + 1)))
    clean = placed(height, width, canvas_size, seed)
    scored = np.argwhere(clean[0] != PAD)
    spots = scored[rng.integers(0, len(scored), 24)]
    tokens = np.where(clean == PAD, rng.integers(0, 12, (24, *canvas_size)), clean).astype(np.int8)
    tokens[::2] = np.where(
        clean == PAD, rng.integers(1, 3), clean
    )  # the worst padding: all END_OF_GRID, or all colours
    tokens[range(24), spots[:, 0], spots[:, 1]] = rng.integers(0, 12, 24)
    for twin in TWINS:
        np.testing.assert_array_equal(sizes(twin, device, "robust", tokens), np.tile([height, width], (24, 1)))


@twins
def test_many_strays_do_not_make_the_grid_small(twin: ModuleType, device: torch.device) -> None:
    """Each of these has more contradictions than 1x1 could ever have."""
    tokens = np.concatenate([placed(20, 20, (30, 30)), placed(30, 30, (30, 30))])
    tokens[:, range(3, 19, 2), range(18, 2, -2)] = END_OF_GRID
    np.testing.assert_array_equal(sizes(twin, device, "robust", tokens), [[20, 20], [30, 30]])


@twins
@pytest.mark.parametrize("decoder", ["robust", "published"])
def test_of_equal_rectangles_the_flatter_wins(twin: ModuleType, device: torch.device, decoder: str) -> None:
    tokens = np.array([[[2, 2, 1], [2, 1, 0], [1, 0, 0]]], dtype=np.int8)  # its own transpose
    np.testing.assert_array_equal(sizes(twin, device, decoder, tokens), [[1, 2]])


@twins
@pytest.mark.parametrize("decoder", ["robust", "published"])
def test_a_canvas_without_colours_holds_no_grid(twin: ModuleType, device: torch.device, decoder: str) -> None:
    tokens = np.stack([np.full((4, 5), PAD), np.full((4, 5), END_OF_GRID), np.full((4, 5), IGNORE)]).astype(np.int8)
    np.testing.assert_array_equal(sizes(twin, device, decoder, tokens), np.zeros((3, 2)))
    assert sizes(twin, device, decoder, tokens[:0]).shape == (0, 2)


@twins
@pytest.mark.parametrize("decoder", ["robust", "published"])
@pytest.mark.parametrize("shape", [(4, 5), (1, 31, 3), (1, 3, 0)])
def test_decoders_refuse_other_shapes(
    twin: ModuleType, device: torch.device, decoder: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"tokens: expected shape \(B, H, W\)"):
        sizes(twin, device, decoder, np.zeros(shape, dtype=np.int8))


def test_tokens_that_are_no_colour_count_as_black() -> None:
    np.testing.assert_array_equal(canvas.colours_of(np.array([[IGNORE, 0, 1, 2, 3, 11]])), [[0, 0, 0, 0, 1, 9]])


def test_compiled_functions_do_without_a_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])  # as where nothing can be written

    def double(number: int) -> int:
        return 2 * number

    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(double, cache=True)
    assert jit()(double)(21) == 42
