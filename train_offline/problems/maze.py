"""Mazes on a square grid: generated ones with a single shortest path, and the eight symmetries.

Tokens: 0 padding, then as published '#' wall, ' ' open, 'S' start, 'G' goal, 'o' the path between them. A step goes to
one of the four neighbours. Letters: K mazes, S the side. `train_offline.problems.puzzle_csv` reads the published file.

Generation: rooms on every second row and column are joined to a tree by a depth-first walk. Then further walls between
rooms are opened, as long as the shortest path stays unique.
"""

import numpy as np

from kernels.jit import jit
from kernels.symmetry import BITS, SYMMETRIES, walk
from solver.common.checks import InputError, at_least
from train_offline.problems.puzzles import Puzzles, draw_distinct, row_keys

WALL = 1
OPEN = 2
START = 3
GOAL = 4
PATH = 5
VOCABULARY = 6


_STEPS = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])  # to the four neighbours


def count_shortest_paths(grids: np.ndarray, limit: int = 2) -> np.ndarray:
    """(K,) int64: the number of shortest paths from START to GOAL in mazes (K, S, S), counted up to `limit`.

    0 if there is no path. Raises InputError unless each maze has one START and one GOAL.
    """
    at_least("limit", limit, 1)
    cells = _checked(grids).reshape(-1, grids.shape[1] ** 2)
    if not has_ends(grids).all():
        raise InputError(f"maze {has_ends(grids).argmin()}: expected one start and one goal, got others")
    found = np.empty(len(cells), dtype=np.int64)
    _count_all(cells, (cells == START).argmax(axis=1), (cells == GOAL).argmax(axis=1), _STEPS, limit, found)
    return found


def generate_mazes(side: int, count: int, generator: np.random.Generator) -> Puzzles:
    """`count` distinct mazes whose only shortest path, of at least 2 * side steps, is marked in the label.

    Published mazes of side 30 have paths of over 110 steps. Raises InputError as `draw_distinct`.
    """
    at_least("maze-side", side, 5)  # smaller ones may not have two rooms
    minimum, rooms = 2 * side, ((side + 1) // 2) ** 2

    def attempt(slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # see puzzles.Attempt
        questions, answers = np.full((2, len(slots), side, side), WALL, dtype=np.uint8)
        corner = generator.integers(0, 2, (len(slots), 2))  # first room: 1 after a row (column) of walls
        draws = generator.random((len(slots), 2 * rooms))
        usable = np.zeros(len(slots), dtype=bool)  # not usable: a start without a room `minimum` steps away
        _build_all(corner, draws, minimum, _STEPS, questions, answers, usable)
        return questions, answers, usable

    what = f"{side}x{side} mazes with a path of {minimum} steps or more"
    inputs, labels = draw_distinct(count, side, attempt, lambda slots: what)
    return Puzzles(inputs, labels, VOCABULARY)


def augment_maze(inputs: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Input and label of each sample under one random symmetry of the eight; see puzzles.Augment."""
    symmetry = generator.integers(0, SYMMETRIES, len(inputs))
    return [_turned(grids, symmetry) for grids in (inputs, labels)]


def _turned(grids: np.ndarray, symmetry: np.ndarray) -> np.ndarray:
    """Grids (K, S, S), each under its own symmetry (K,)."""
    count, side = _checked(grids).shape[:2]
    origin, down, right = (part[:, None, None] for part in walk(BITS[:, symmetry], side, side, side))
    line = np.arange(side)
    source = (origin + line[:, None] * down + line * right).reshape(count, side * side)
    return np.take_along_axis(grids.reshape(count, side * side), source, axis=1).reshape(grids.shape)


def families(puzzles: Puzzles) -> np.ndarray:
    """(K,) byte strings, equal exactly for questions that are symmetric to each other."""
    turned = (_turned(puzzles.inputs, np.full(len(puzzles), symmetry)) for symmetry in range(SYMMETRIES))
    return np.sort(np.stack([row_keys(grids) for grids in turned]), axis=0)[0]


def has_ends(grids: np.ndarray) -> np.ndarray:
    """(K,) bool: whether mazes (K, S, S) have exactly one START and one GOAL."""
    return ((grids == START).sum(axis=(1, 2)) == 1) & ((grids == GOAL).sum(axis=(1, 2)) == 1)


def _checked(grids: np.ndarray) -> np.ndarray:
    if grids.ndim != 3 or grids.shape[1] != grids.shape[2] or grids.dtype != np.uint8:
        got = f"{grids.dtype} of shape {grids.shape}"
        raise InputError(f"mazes: expected uint8 tokens of shape (K, side, side), got {got}")
    return grids


# Below, a grid is flat, (S * S,), and a cell is its index there.


@jit()
def _flood(grid, side, start, steps, limit, distance, ways, queue):  # type: ignore[no-untyped-def]
    """Steps from start to each cell (-1: none) and the number of shortest paths, up to limit; breadth first."""
    for cell in range(len(grid)):
        distance[cell] = -1
    distance[start], ways[start], queue[0] = 0, 1, start
    head, tail = 0, 1
    while head < tail:
        cell = queue[head]
        head += 1
        for k in range(4):
            row, column = cell // side + steps[k, 0], cell % side + steps[k, 1]
            if not (0 <= row < side and 0 <= column < side):
                continue
            near = row * side + column
            if grid[near] <= WALL:
                continue
            if distance[near] < 0:
                distance[near], ways[near], queue[tail] = distance[cell] + 1, ways[cell], near
                tail += 1
            elif distance[near] == distance[cell] + 1:
                ways[near] = min(limit, ways[near] + ways[cell])


@jit()
def _count_all(grids, starts, goals, steps, limit, found):  # type: ignore[no-untyped-def]
    cells = grids.shape[1]
    side = int(np.sqrt(cells))
    distance, ways, queue = np.empty((3, cells), dtype=np.int64)
    for k in range(len(grids)):
        _flood(grids[k], side, starts[k], steps, limit, distance, ways, queue)
        found[k] = ways[goals[k]] if distance[goals[k]] >= 0 else 0


@jit()
def _carve(grid, side, first, corner, steps, draws, stack):  # type: ignore[no-untyped-def]
    """Join all rooms to a tree by a depth-first walk from room `first`; draws (rooms,) in [0, 1) pick neighbours."""
    grid[first], stack[0] = OPEN, first
    depth, used = 1, 0
    near = np.empty(4, dtype=np.int64)
    while depth:
        room, choices = stack[depth - 1], 0
        for k in range(4):
            row, column = room // side + 2 * steps[k, 0], room % side + 2 * steps[k, 1]
            if corner[0] <= row < side and corner[1] <= column < side and grid[row * side + column] == WALL:
                near[choices] = row * side + column
                choices += 1
        if choices == 0:
            depth -= 1
            continue
        following = near[int(draws[used] * choices)]
        used += 1
        grid[following] = grid[(room + following) // 2] = OPEN
        stack[depth] = following
        depth += 1


@jit()
def _loosen(grid, side, start, goal, rooms, minimum, steps, draws, distance, ways, queue):  # type: ignore[no-untyped-def]
    """Open random walls while the shortest path stays unique and has `minimum` steps; leaves its `distance` behind."""
    for draw in draws:
        pick = int(draw * 2 * len(rooms))
        room, turn = rooms[pick // 2], 1 + 2 * (pick % 2)  # the wall below it, or to its right
        row, column = room // side + 2 * steps[turn, 0], room % side + 2 * steps[turn, 1]
        wall = room + steps[turn, 0] * side + steps[turn, 1]
        if row < side and column < side and grid[wall] == WALL:
            grid[wall] = OPEN
            _flood(grid, side, start, steps, 2, distance, ways, queue)
            if ways[goal] > 1 or distance[goal] < minimum:
                grid[wall] = WALL
    _flood(grid, side, start, steps, 2, distance, ways, queue)


@jit()
def _build_all(corners, draws, minimum, steps, questions, answers, usable):  # type: ignore[no-untyped-def]
    """Mazes from draws (n, 2 R) in [0, 1), R at least the number of rooms and 9; usable if a path is long enough."""
    side, most = questions.shape[1], draws.shape[1] // 2
    distance, ways, queue = np.empty((3, side * side), dtype=np.int64)
    for n in range(len(questions)):
        grid, label, corner, draw = questions[n].reshape(-1), answers[n].reshape(-1), corners[n], draws[n]
        width = (side - corner[1] + 1) // 2
        rooms = np.empty((side - corner[0] + 1) // 2 * width, dtype=np.int64)
        for k in range(len(rooms)):
            rooms[k] = (corner[0] + k // width * 2) * side + corner[1] + k % width * 2
        _carve(grid, side, rooms[int(draw[-1] * len(rooms))], corner, steps, draw[:most], queue)
        start = rooms[int(draw[-2] * len(rooms))]
        _flood(grid, side, start, steps, 2, distance, ways, queue)
        far, goals = np.empty_like(rooms), 0
        for room in rooms:
            if distance[room] >= minimum:
                far[goals], goals = room, goals + 1
        if goals == 0:
            continue
        goal = far[int(draw[-3] * goals)]
        # Openings shorten the path. With `minimum` as the only bound nearly all paths would end up at it.
        floor = minimum + int(draw[-4] * (distance[goal] - minimum + 1))
        tries = draw[most : most + most // 4]
        _loosen(grid, side, start, goal, rooms, floor, steps, tries, distance, ways, queue)
        grid[start], grid[goal] = START, GOAL
        for k in range(len(grid)):  # a loop, since numba takes seconds to compile a slice assignment
            label[k] = grid[k]
        cell = goal
        while distance[cell] > 1:  # back along the unique path
            for k in range(4):
                row, column = cell // side + steps[k, 0], cell % side + steps[k, 1]
                near = row * side + column
                if 0 <= row < side and 0 <= column < side and distance[near] == distance[cell] - 1:
                    cell = near
                    break
            label[cell] = PATH
        usable[n] = True
