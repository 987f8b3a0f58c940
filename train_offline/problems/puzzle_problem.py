"""Sudoku and Maze as training problems: puzzles on one canvas, scored by the share that is solved exactly.

Letters: K puzzles, (H, W) their canvas.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import Canvas
from kernels.symmetry import COLOURS
from solver.common.checks import InputError
from solver.common.clock import Clock
from solver.learning.ranks import Ranks
from solver.model.trm import TRM, Condition
from solver.predict import refine
from solver.tokens.encode import Batch
from train_offline.problems import maze, sudoku
from train_offline.problems.problem import Problem
from train_offline.problems.puzzle_csv import read_mazes, read_sudokus
from train_offline.problems.puzzles import Augment, Puzzles, row_keys
from train_offline.settings.config import EvaluationConfig, TrainConfig

ROW = ("<blank>", "")  # as published, all puzzles share one puzzle embedding


def puzzle_problem(config: TrainConfig, seed: int, device: torch.device) -> Problem:
    """Puzzles from files or a generator. Raises InputError if they do not match the model's vocabulary or canvas."""
    train, test, augment = _load(config, np.random.default_rng([seed, 0]))
    leaked = np.isin(row_keys(train.inputs), row_keys(test.inputs))
    train = train.at(~leaked)
    canvas = train.inputs.shape[1:]
    if train.vocabulary != config.model.vocabulary or canvas != config.model.canvas:
        wanted = f"a model of vocabulary {train.vocabulary} and canvas {canvas}, as the puzzles"
        raise InputError(
            f"{config.problem}: expected {wanted}, got {config.model.vocabulary} and {config.model.canvas}: "
            "see --model.vocabulary, --model.canvas and --puzzle.side, or take the preset of that size"
        )
    tokens = config.model.puzzle_tokens + canvas[0] * canvas[1]
    stream = PuzzleStream(train, augment, max(1, config.step_tokens // tokens), seed, device)
    score = PuzzleScore(test, config.evaluation, stream.slot_count(canvas))
    manifest = {
        "corpora": [{"name": str(config.puzzle.train or f"generated {config.problem}"), "puzzles": len(train)}],
        "held_out_puzzles": len(test),
        "digest": _digest(train, test),
        "leaks_allowed": False,
        "seed": seed,
    }
    if not len(train):
        raise InputError(f"{config.problem}: expected puzzles to train on, got only held-out ones")
    lines = [f"{leaked.sum()} training puzzles dropped, as they are held out"] if leaked.any() else []
    lines += [f"{len(train)} {config.problem} puzzles of {canvas[0]}x{canvas[1]}; {len(test)} held out"]
    return Problem(stream, {ROW: 0}, 1, score, manifest, lines)


def _load(config: TrainConfig, generator: np.random.Generator) -> tuple[Puzzles, Puzzles, Augment]:
    """Training and held-out puzzles, without related puzzles across the two if they are generated."""
    puzzle, is_sudoku = config.puzzle, config.problem == "sudoku"
    augment = sudoku.augment_sudoku(puzzle.side) if is_sudoku else maze.augment_maze
    if puzzle.train and puzzle.test:
        read = partial(read_sudokus, side=puzzle.side) if is_sudoku else read_mazes
        return read(puzzle.train, puzzle.count), read(puzzle.test, puzzle.test_count), augment
    if puzzle.train or puzzle.test:
        raise InputError("puzzle: expected both a train and a test file, or neither; got one")
    count = puzzle.count + puzzle.test_count
    if is_sudoku:
        puzzles = sudoku.generate_sudokus(puzzle.side, puzzle.clues, count, generator)
        train, test = sudoku.split(puzzles, puzzle.test_count, generator)
    else:
        train, test = maze.split(maze.generate_mazes(puzzle.side, count, generator), puzzle.test_count, generator)
    return train, test, augment


def _digest(*parts: Puzzles) -> str:
    """sha256 of the training and held-out puzzles."""
    content = hashlib.sha256()
    for puzzles in parts:
        content.update(repr(puzzles.inputs.shape).encode() + puzzles.inputs.tobytes() + puzzles.labels.tobytes())
    return content.hexdigest()


class PuzzleStream:
    """An endless stream of puzzles, each under a random augmentation; every epoch has each puzzle once."""

    def __init__(self, puzzles: Puzzles, augment: Augment, slots: int, seed: int, device: torch.device) -> None:
        self._puzzles, self._augment, self._slots, self._seed, self._device = puzzles, augment, slots, seed, device
        self.canvases: list[Canvas] = [puzzles.inputs.shape[1:]]
        self._draws, self._drawn = 0, 0  # calls of _draw and puzzles drawn so far

    def slot_count(self, canvas: Canvas) -> int:
        """The same for every step, as there is one canvas."""
        return self._slots

    def shares(self) -> dict[Canvas, float]:
        """Every step is on the one canvas."""
        return {self.canvases[0]: 1.0}

    def next_step(self) -> tuple[Canvas, int]:
        """The one canvas, and its slots."""
        return self.canvases[0], self._slots

    def draw(self, canvas: Canvas, count: int, mine: slice = slice(None)) -> Batch:
        """The next `count` puzzles, of which only `mine` are returned."""
        epoch, place = divmod(self._drawn, len(self._puzzles))
        epochs = range(epoch, epoch + 2 + count // len(self._puzzles))
        orders = [np.random.default_rng([self._seed, 1, e]).permutation(len(self._puzzles)) for e in epochs]
        chosen = self._puzzles.at(np.concatenate(orders)[place : place + count])
        generator = np.random.default_rng([self._seed, 2, self._draws])
        pair = self._augment(chosen.inputs, chosen.labels, generator)
        self._draws, self._drawn = self._draws + 1, self._drawn + count
        inputs, labels = (part[mine] for part in pair)
        return as_batch(inputs, labels, self._device)

    def position(self) -> dict[str, Any]:
        """The number of draws and of puzzles drawn so far, as JSON."""
        return {"draws": self._draws, "drawn": self._drawn}

    def seek(self, position: Mapping[str, Any]) -> None:
        """Continue from a position."""
        self._draws, self._drawn = position["draws"], position["drawn"]


def as_batch(inputs: np.ndarray, labels: np.ndarray, device: torch.device) -> Batch:
    """Puzzles (K, H, W) as a batch; all samples share the one puzzle embedding."""
    question, answer = (
        torch.from_numpy(part.reshape(len(part), -1).astype(np.int64)).to(device) for part in (inputs, labels)
    )
    ids, symmetry = torch.zeros(2, len(inputs), dtype=torch.int64, device=device)
    return Batch(question, answer, ids, symmetry, torch.arange(COLOURS, device=device).repeat(len(inputs), 1))


@dataclass(frozen=True)
class PuzzleScore:
    """Scores a trunk on held-out puzzles: the share with every cell right."""

    puzzles: Puzzles
    config: EvaluationConfig
    batch_size: int

    def __call__(self, model: TRM, table: Tensor, ranks: Ranks, autocast: torch.dtype | None) -> dict[str, float]:
        """Shares of exactly solved puzzles and of right cells, and the number of puzzles."""
        puzzles = self.puzzles.at(slice(self.config.samples))
        mine = puzzles.at(slice(ranks.rank, None, ranks.count))
        right = np.zeros(3)
        size = max(1, self.batch_size)
        for start in range(0, len(mine), size):
            right += self._count(mine.at(slice(start, start + size)), model, table, autocast)
        exact, cells, count = ranks.total(right.tolist())
        return {"exact": exact / max(1, count), "cells": cells / max(1, count), "puzzles": int(count)}

    @torch.inference_mode()
    def _count(self, puzzles: Puzzles, model: TRM, table: Tensor, autocast: torch.dtype | None) -> np.ndarray:
        batch = as_batch(puzzles.inputs, puzzles.labels, table.device)
        canvas = puzzles.inputs.shape[1:]
        condition = Condition(table[batch.ids], batch.symmetry, batch.permutation)
        with torch.autocast(table.device.type, dtype=autocast, enabled=autocast is not None):
            tokens = refine(model, batch.inputs, condition, canvas, self.config.predict, Clock())[0].tokens
        right = (tokens == batch.labels).float().mean(dim=1)
        return np.array([(right == 1).sum().item(), right.sum().item(), len(puzzles)])
