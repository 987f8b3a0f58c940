"""Pictures of grids show the grids: alone, by reference to others that are alike, and as a difference."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver.report.drawing import COLOUR_CODES, GRID_PIXELS, LARGEST_CELL, Album, draw_grid, scale_of

Grid = list[list[int]]

sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


def grids_of(size: tuple[int, int]) -> Any:
    row = st.lists(st.integers(0, 9), min_size=size[1], max_size=size[1])
    return st.lists(row, min_size=size[0], max_size=size[0])


def paint(content: str, cells: list[list[str]], page: str) -> None:
    """Paint what an <svg> or <g> holds, in its order, into `cells`; `page` has what it refers to."""
    for name, fill, stroke, path in re.findall(
        r'<use href="#(\w+)"/>|<path (?:fill="(#\w+)"|stroke="(#\w+)") d="([^"]*)"/>', content
    ):
        if name.startswith("l"):
            continue
        if name:
            (used,) = re.findall(rf'<g id="{name}">(.*?)</g>', page)
            paint(used, cells, page)
        elif fill:
            assert path == f"M0-.5h{len(cells[0])}v{len(cells)}H0z"
            cells[:] = [[fill] * len(cells[0]) for _ in cells]
        else:
            strokes = re.findall(r"M(\d+) (\d+)h(\d+)", path)
            assert "".join("M{} {}h{}".format(*numbers) for numbers in strokes) == path
            for column, row, length in (map(int, numbers) for numbers in strokes):
                cells[row][column : column + length] = [stroke] * length
                assert len(cells[row]) == len(cells[0])


def shown(picture: str, page: str = "") -> list[list[str]]:
    """The colours that a picture shows."""
    size = re.search(r'viewBox="0 -.5 (\d+) (\d+)"', picture)
    assert size
    cells = [[""] * int(size[1]) for _ in range(int(size[2]))]
    paint(picture, cells, page)
    return cells


def coloured(grid: Grid) -> list[list[str]]:
    return [[COLOUR_CODES[cell] for cell in row] for row in grid]


@settings(max_examples=40)
@given(grid=sizes.flatmap(grids_of))
def test_the_picture_shows_the_grid(grid: Grid) -> None:
    assert shown(draw_grid(grid, "a", 5)) == coloured(grid)


@settings(max_examples=60)
@given(
    grids=st.tuples(st.integers(1, 4), st.integers(1, 3)).flatmap(
        lambda size: st.lists(st.one_of(grids_of(size), grids_of((2, 2))), min_size=2, max_size=8)
    )
)
def test_an_album_shows_each_grid_whatever_it_is_like(grids: list[Grid]) -> None:
    album = Album()
    pictures = [album.draw(grid, "a", 5, like) for grid, like in zip(grids, [None, *grids], strict=False)]
    page = album.shared() + "".join(pictures)
    for grid, picture in zip(grids, pictures, strict=True):
        assert shown(picture, page) == coloured(grid)
        assert f'<path id="l{len(grid)}x{len(grid[0])}"' in page, "the lines between its cells"
    assert page.count("<g id=") == len({str(grid) for grid in grids}), "each is painted once"


def test_what_is_alike_costs_little_and_refers_to_what_is_whole() -> None:
    grids = [[[(row * column) % 10 for column in range(30)] for row in range(30)] for _ in range(3)]
    grids[1][3][4] = grids[2][3][4] = grids[2][5][6] = 9
    album = Album()
    first = album.draw(grids[0], "a", 5)
    second = album.draw(grids[1], "b", 5, grids[0])
    third = album.draw(grids[2], "c", 5, grids[1])
    assert len(first) > 4000 > 400 > len(third)
    assert 'id="g1"><use href="#g0"/>' in second
    assert 'id="g2"><use href="#g0"/>' in third


def test_equal_cells_of_a_row_are_one_stroke() -> None:
    assert '<path stroke="#2ECC40" d="M5 0h3"/>' in draw_grid([[0, 0, 0, 0, 0, 3, 3, 3]], "a", 5)


def test_a_difference_frames_what_is_wrong_and_holds_the_true_colour() -> None:
    picture = Album().draw_difference([[1, 2, 3], [4, 5, 6]], [[1, 2, 0], [7, 5, 6]], "a", 5)
    assert '<path class="veil" d="M0 0h2M1 1h2"/>' in picture
    assert picture.count('d="M2 -0.5h1v1h-1zM0 0.5h1v1h-1z"/>') == 2
    assert f'<path stroke="{COLOUR_CODES[0]}" class="dot" d="M2.3 0h.4"/>' in picture
    assert f'<path stroke="{COLOUR_CODES[7]}" class="dot" d="M0.3 1h.4"/>' in picture


def test_words_are_escaped() -> None:
    assert 'aria-label="&lt;&quot;&gt;, 1 rows by 1 columns"' in draw_grid([[1]], '<">', 5)


@pytest.mark.parametrize(("sides", "cell"), [([30], 6), ([3, 30], 6), ([10, 4], 19), ([3], LARGEST_CELL), ([], 6)])
def test_one_scale_for_all(sides: list[int], cell: int) -> None:
    assert scale_of([[[0] * side] for side in sides]) == cell
    assert max([*sides, 1]) * cell <= GRID_PIXELS
