"""Mazes: shortest paths counted against walks in a graph, mazes of our own, the symmetries, the published file."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.symmetry import SYMMETRIES, apply_symmetry
from solver.common.checks import InputError
from train_offline.problems.maze import (
    GOAL,
    OPEN,
    PATH,
    START,
    VOCABULARY,
    WALL,
    augment_maze,
    count_shortest_paths,
    families,
    generate_mazes,
)
from train_offline.problems.puzzle_csv import read_mazes
from train_offline.problems.puzzles import Puzzles, row_keys, split_families

TOKENS = {" ": OPEN, "#": WALL, "S": START, "G": GOAL, "o": PATH}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def maze(rows: str) -> np.ndarray:
    """(1, S, S) tokens of rows separated by slashes."""
    return np.array([[[TOKENS[character] for character in row] for row in rows.split("/")]], dtype=np.uint8)


def shortest(grid: np.ndarray) -> tuple[int, int]:
    """(steps, number) of the shortest paths: the walks from start of so many steps, until one is at the goal."""
    walks = np.pad(grid == START, 1).astype(int).astype(object)  # Python's integers: they outgrow any other
    free = np.pad(grid != WALL, 1).astype(int).astype(object)
    (goal,) = np.argwhere(grid == GOAL) + 1
    for steps in range(grid.size):
        if walks[tuple(goal)]:
            return steps, walks[tuple(goal)]
        walks = free * sum(np.roll(walks, step, axis) for axis in (0, 1) for step in (-1, 1))
    return 0, 0


def test_paths_by_hand() -> None:
    cases = {"S  /   /  G": 6, "S##/ ##/  G": 1, "S  /## /##G": 1, "S# /###/  G": 0}
    for rows, number in cases.items():
        assert count_shortest_paths(maze(rows), 100).tolist() == [number], rows
        assert count_shortest_paths(maze(rows)).tolist() == [min(number, 2)], rows
    assert count_shortest_paths(maze("# S/G##/###")).tolist() == [0]  # no way round the edge of the grid
    assert count_shortest_paths(np.empty((0, 3, 3), np.uint8)).tolist() == []
    together = np.concatenate([maze(rows) for rows in cases])
    assert count_shortest_paths(together, 4).tolist() == [4, 1, 1, 0]


@settings(max_examples=60)
@given(side=st.integers(2, 6), seed=st.integers(0, 2**32 - 1), walls=st.sampled_from([0.0, 0.2, 0.4]))
def test_paths_are_counted_as_walks_are(side: int, seed: int, walls: float) -> None:
    grid = np.where(rng(seed).random((side, side)) < walls, WALL, OPEN).astype(np.uint8)
    start, goal = rng(seed + 1).choice(side * side, 2, replace=False)
    grid.ravel()[start], grid.ravel()[goal] = START, GOAL
    assert count_shortest_paths(grid[None], 10**6).tolist() == [shortest(grid)[1]]


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        (maze("S /  "), "maze 0: expected one start and one goal, got others"),
        (np.concatenate([maze("S /G "), maze("SG/ G")]), "maze 1: expected one start and one goal"),
        (np.ones((2, 3, 4), np.uint8), "mazes: expected uint8 tokens of shape (K, side, side), got uint8 of shape"),
        (np.ones((2, 3, 3)), "got float64 of shape (2, 3, 3)"),
    ],
)
def test_grids_that_are_no_mazes(grids: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        count_shortest_paths(grids)


@pytest.mark.slow
@pytest.mark.parametrize("side", [5, 8, 9, 30])
def test_generated_mazes_mark_their_only_shortest_path(side: int) -> None:
    mazes = generate_mazes(side, 40, rng())
    assert mazes.inputs.shape == (40, side, side)
    assert mazes.vocabulary == VOCABULARY
    assert len(set(row_keys(mazes.inputs))) == 40
    assert ((mazes.inputs == START).sum(axis=(1, 2)) == 1).all()
    assert ((mazes.inputs == GOAL).sum(axis=(1, 2)) == 1).all()
    assert set(np.unique(mazes.inputs)) == {WALL, OPEN, START, GOAL}
    assert (count_shortest_paths(mazes.inputs) == 1).all()
    marked = mazes.labels == PATH
    np.testing.assert_array_equal(mazes.inputs[marked], np.full(marked.sum(), OPEN))
    np.testing.assert_array_equal(mazes.inputs[~marked], mazes.labels[~marked])
    steps = marked.sum(axis=(1, 2)) + 1
    assert steps.min() >= 2 * side
    for question, answer, length in list(zip(mazes.inputs, mazes.labels, steps, strict=True))[:8]:
        assert shortest(question) == (length, 1)
        assert shortest(np.where(answer == OPEN, WALL, answer)) == (length, 1)  # the marks alone are that path


def test_mazes_are_no_trees_and_all_of_one_piece() -> None:
    mazes = generate_mazes(30, 60, rng())
    free = mazes.inputs != WALL
    doors = (free[:, 1:] & free[:, :-1]).sum(axis=(1, 2)) + (free[:, :, 1:] & free[:, :, :-1]).sum(axis=(1, 2))
    loops = doors - free.sum(axis=(1, 2)) + 1  # 0 of a tree; were a maze in two pieces, one less
    assert loops.min() >= 1
    assert np.median(loops) >= 8
    steps = (mazes.labels == PATH).sum(axis=(1, 2)) + 1
    assert np.median(steps) > 80  # and not crowded at the minimum, 60
    for edge in (free[:, 0], free[:, -1], free[:, :, 0], free[:, :, -1]):  # no side is always a wall
        assert 10 < edge.any(axis=1).sum() < 50


def test_the_seed_decides() -> None:
    again = [generate_mazes(11, 10, rng(seed)).inputs for seed in (1, 1, 2)]
    np.testing.assert_array_equal(again[0], again[1])
    assert (again[0] != again[2]).any()


@pytest.mark.parametrize(
    ("side", "count", "message"),
    [
        (
            5,
            10**4,
            r"5x5 mazes with a path of 10 steps or more: expected \d+ more, unlike the \d+ found, got none in 20",
        ),
        (4, 3, "maze-side: expected 5 or more, got 4"),
    ],
)
def test_impossible_wishes_are_refused(side: int, count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate_mazes(side, count, rng())


def test_augmentation_is_one_of_the_eight_symmetries() -> None:
    one = generate_mazes(8, 1, rng())
    count = 400
    inputs, labels = augment_maze(one.inputs.repeat(count, axis=0), one.labels.repeat(count, axis=0), rng(1))
    assert inputs.dtype == labels.dtype == np.uint8
    expected = [(apply_symmetry(one.inputs[0], s), apply_symmetry(one.labels[0], s)) for s in range(SYMMETRIES)]
    drawn = np.zeros(SYMMETRIES, dtype=int)
    for question, answer in zip(inputs, labels, strict=True):
        same = [(question == q).all() and (answer == a).all() for q, a in expected]
        assert sum(same) == 1
        drawn += same
    assert drawn.min() > count / SYMMETRIES / 2
    mixed = generate_mazes(7, 30, rng(2))
    turned = augment_maze(mixed.inputs, mixed.labels, rng(3))
    for k in range(30):  # each sample from itself
        assert any((apply_symmetry(mixed.labels[k], s) == turned[1][k]).all() for s in range(SYMMETRIES))


def test_test_mazes_are_no_training_mazes_turned() -> None:
    few = generate_mazes(6, 60, rng())
    turned = Puzzles(*augment_maze(few.inputs, few.labels, rng(1)), VOCABULARY)
    np.testing.assert_array_equal(families(few), families(turned))
    orbits = {min(apply_symmetry(grid, s).tobytes() for s in range(SYMMETRIES)) for grid in few.inputs}
    assert len(set(families(few))) == len(orbits)
    inputs, labels = np.concatenate([few.inputs, turned.inputs]), np.concatenate([few.labels, turned.labels])
    made = Puzzles(inputs, labels, VOCABULARY)
    train, test = split_families(made, families(made), 21, rng(2))
    assert len(test) == 21
    assert len(train) >= 120 - 2 * 21
    assert not set(families(train)) & set(families(test))


def text(grid: np.ndarray) -> str:
    characters = {token: character for character, token in TOKENS.items()}
    return "".join(characters[token] for token in grid.ravel().tolist())


def save(path: Path, *pairs: tuple[str, str]) -> Path:
    path.write_text("source,question,answer,rating\n" + "".join(f"s,{q},{a},110\n" for q, a in pairs))
    return path


@pytest.mark.parametrize("side", [6, 30])
def test_a_file_comes_back_as_it_was_written(tmp_path: Path, side: int) -> None:
    mazes = generate_mazes(side, 10, rng())
    pairs = zip(mazes.inputs, mazes.labels, strict=True)
    path = save(tmp_path / "m.csv", *((text(question), text(answer)) for question, answer in pairs))
    result = read_mazes(path)
    assert isinstance(result, Puzzles)
    np.testing.assert_array_equal(result.inputs, mazes.inputs)
    np.testing.assert_array_equal(result.labels, mazes.labels)
    assert result.vocabulary == VOCABULARY
    assert len(read_mazes(path, limit=3)) == 3


def test_the_path_may_be_a_detour(tmp_path: Path) -> None:
    detour = ("S G      ", "S Goooooo")
    assert read_mazes(save(tmp_path / "m.csv", detour)).labels[0].tolist() == [[3, 2, 4], [5, 5, 5], [5, 5, 5]]


@pytest.mark.parametrize(
    ("question", "answer", "message"),
    [
        ("S # G #  ", "S # G #  ", "line 3, column answer: expected a path of 'o' from S to G, got 'S # G #  '"),
        ("S # G #  ", "SoooG #  ", "line 3, column answer, character 3: expected the question's, or 'o' for a space"),
        ("S # G #  ", "So GS #  ", "character 3: expected the question's, or 'o' for a space, got ' '"),
        ("S # S #  ", "So#oG #  ", "line 3, column question: expected one S and one G, got 'S # S #  '"),
        ("S #oG #  ", "So#oG #  ", "line 3, column question, character 4: expected one of '# SG', got 'o'"),
        ("S # G # ", "So# G # ", "line 3, column question: expected 9 characters, got 8"),
    ],
)
def test_answers_are_held_to_their_questions(tmp_path: Path, question: str, answer: str, message: str) -> None:
    path = save(tmp_path / "m.csv", ("SG" + 7 * "#", "SG" + 7 * "#"), (question, answer))
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        read_mazes(path)
