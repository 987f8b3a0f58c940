"""Sudoku and Maze as training problems: puzzles on one canvas, scored by the share that is solved exactly.

Letters: K puzzles, (H, W) their canvas.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.canvas import Canvas
from solver.common.checks import InputError
from solver.common.clock import Clock
from solver.learning.ranks import Ranks
from solver.model.device import in_precision
from solver.model.trm import TRM, Condition
from solver.predict import refine
from solver.tokens.encode import Batch
from train_offline.problems import maze, sudoku
from train_offline.problems.problem import Problem
from train_offline.problems.puzzle_csv import read_mazes, read_sudokus
from train_offline.problems.puzzles import Augment, Puzzles, row_keys, split_families
from train_offline.settings.config import EvaluationConfig, TrainConfig

GENERATED_TESTS = 1000
ROW = ("<blank>", "")  # as published, all puzzles share one puzzle embedding


def puzzle_problem(config: TrainConfig, seed: int, device: torch.device) -> Problem:
    """Puzzles from files or a generator. Raises InputError if they do not match the model's vocabulary or canvas."""
    augment = sudoku.augment_sudoku(config.puzzle.side) if config.problem == "sudoku" else maze.augment_maze
    train, test = _train_and_test(config, seed)
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
    score = partial(puzzle_score, test, config.evaluation, stream.slot_count(canvas))
    parts = [repr(p.inputs.shape).encode() + p.inputs.tobytes() + p.labels.tobytes() for p in (train, test)]
    manifest = {
        "corpora": [{"name": str(config.puzzle.train or f"generated {config.problem}"), "puzzles": len(train)}],
        "held_out_puzzles": len(test),
        "digest": hashlib.sha256(b"".join(parts)).hexdigest(),
        "leaks_allowed": False,
        "seed": seed,
    }
    if not len(train):
        raise InputError(f"{config.problem}: expected puzzles to train on, got only held-out ones")
    lines = [f"{leaked.sum()} training puzzles dropped, as they are held out"] if leaked.any() else []
    lines += [f"{len(train)} {config.problem} puzzles of {canvas[0]}x{canvas[1]}; {len(test)} held out"]
    return Problem(stream, {ROW: 0}, 1, score, manifest, lines)


def _train_and_test(config: TrainConfig, seed: int) -> tuple[Puzzles, Puzzles]:
    """Training and held-out puzzles, from the files or generated. Raises InputError."""
    puzzle, is_sudoku, generator = config.puzzle, config.problem == "sudoku", np.random.default_rng([seed, 0])
    if puzzle.train and puzzle.test:
        read = partial(read_sudokus, side=puzzle.side) if is_sudoku else read_mazes
        train, test = read(puzzle.train), read(puzzle.test, puzzle.test_count)
        if puzzle.count < len(train):  # as published: Sudoku-Extreme has millions, of which 1,000 random ones are used
            train = train.at(np.sort(generator.choice(len(train), puzzle.count, replace=False)))
        return train, test
    if puzzle.train or puzzle.test:
        raise InputError("puzzle: expected both a train and a test file, or neither; got one")
    test_count = puzzle.test_count or GENERATED_TESTS
    if is_sudoku:
        puzzles = sudoku.generate_sudokus(puzzle.side, puzzle.clues, puzzle.count + test_count, generator)
        families = sudoku.families(puzzles, puzzle.side)
    else:
        puzzles = maze.generate_mazes(puzzle.side, puzzle.count + test_count, generator)
        families = maze.families(puzzles)
    return split_families(puzzles, families, test_count, generator)


class PuzzleStream:
    """An endless stream of puzzles, each under a random augmentation; every epoch has each puzzle once."""

    packed = False

    def __init__(self, puzzles: Puzzles, augment: Augment, slots: int, seed: int, device: torch.device) -> None:
        self._puzzles, self._augment, self._slots, self._seed, self._device = puzzles, augment, slots, seed, device
        self.canvases: list[Canvas] = [puzzles.inputs.shape[1:]]
        self._draws, self._drawn = 0, 0  # calls of _draw and puzzles drawn so far

    def slot_count(self, canvas: Canvas) -> int:
        return self._slots

    def shares(self) -> dict[Canvas, float]:
        return {self.canvases[0]: 1.0}

    def next_step(self) -> tuple[Canvas, int]:
        return self.canvases[0], self._slots

    def draw(self, canvas: Canvas, count: int, mine: slice = slice(None)) -> Batch:
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
        return {"draws": self._draws, "drawn": self._drawn}

    def seek(self, position: Mapping[str, Any]) -> None:
        self._draws, self._drawn = position["draws"], position["drawn"]


def as_batch(inputs: np.ndarray, labels: np.ndarray, device: torch.device) -> Batch:
    """Puzzles (K, H, W) as a batch; all samples share the one puzzle embedding."""
    question, answer = (
        torch.from_numpy(part.reshape(len(part), -1).astype(np.int64)).to(device) for part in (inputs, labels)
    )
    ids, symmetry = torch.zeros(2, len(inputs), dtype=torch.int64, device=device)
    return Batch(question, answer, ids, symmetry)


def puzzle_score(
    puzzles: Puzzles,
    config: EvaluationConfig,
    batch_size: int,
    model: TRM,
    table: Tensor,
    ranks: Ranks,
    autocast: torch.dtype | None,
) -> dict[str, float]:
    """Shares of exactly solved puzzles and of right cells, and the number of puzzles."""
    mine = puzzles.at(slice(config.samples)).at(slice(ranks.rank, None, ranks.count))
    device, canvas, size = table.device, mine.inputs.shape[1:], batch_size
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    with torch.inference_mode(), in_precision(device, autocast):
        for start in range(0, len(mine), size):
            some = slice(start, start + size)
            batch = as_batch(mine.inputs[some], mine.labels[some], device)
            condition = Condition(table[batch.ids], batch.symmetry)
            tokens = refine(model, batch.inputs, condition, canvas, config.predict, Clock())[0].tokens
            right = (tokens == batch.labels).float().mean(dim=1)
            sums += torch.stack([(right == 1).float(), right, torch.ones_like(right)]).double().sum(dim=1)
    exact, cells, count = ranks.total(sums.tolist())
    return {"exact": exact / max(1, count), "cells": cells / max(1, count), "puzzles": int(count)}
