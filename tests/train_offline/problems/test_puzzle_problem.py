"""Sudoku and Maze as training problems: what is drawn, what is held out, and how it is scored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

from solver.common.checks import InputError
from solver.learning.ranks import Ranks
from solver.settings.config import TRMConfig
from tests.train_offline.tiny_runs import CPU, hurried, options
from train_offline.problems import sudoku
from train_offline.problems.puzzle_problem import PuzzleStream, puzzle_problem, puzzle_score
from train_offline.problems.puzzles import Puzzles
from train_offline.settings.config import PuzzleConfig, TrainConfig
from train_offline.settings.presets import sudoku4
from train_offline.trainer import Trainer


def small(problem: str = "sudoku", **puzzle: object) -> TrainConfig:
    config = replace(
        sudoku4(), puzzle=PuzzleConfig(**{"side": 4, "clues": (5, 8), "count": 60, "test_count": 20, **puzzle})
    )
    if problem == "maze":
        model = replace(config.model, vocabulary=6, canvas=(7, 7))
        config = replace(config, problem="maze", puzzle=replace(config.puzzle, side=7), model=model)
    return config


def stream_of(config: TrainConfig, seed: int = 0) -> PuzzleStream:
    stream = puzzle_problem(config, seed, CPU).stream
    assert isinstance(stream, PuzzleStream)
    return stream


def draw(stream: PuzzleStream, count: int, mine: slice = slice(None)) -> list[torch.Tensor]:
    return list(stream.draw((4, 4), count, mine)[:-1])


@pytest.mark.slow
def test_sudokus_are_drawn_as_their_augmentations() -> None:
    inputs, labels, ids, symmetry = draw(stream_of(small()), 200)
    question, answer = inputs.numpy(), labels.numpy()
    assert sudoku.is_solution(answer.reshape(-1, 4, 4), 4).all()
    given = question != sudoku.BLANK
    assert (question[given] == answer[given]).all()
    assert len(np.unique(question, axis=0)) > 150  # of 60 puzzles or so
    assert ids.eq(0).all()
    assert symmetry.eq(0).all()


def test_every_puzzle_comes_once_before_any_comes_again() -> None:
    config = small()
    problem = puzzle_problem(config, 0, CPU)
    count = problem.manifest["corpora"][0]["puzzles"]
    stream = problem.stream
    assert isinstance(stream, PuzzleStream)
    stream._augment = lambda inputs, labels, generator: (inputs, labels)
    rounds = [draw(stream, count)[0] for _ in range(3)]
    assert all(len(torch.unique(part, dim=0)) == count for part in rounds)
    assert not torch.equal(rounds[0], rounds[1])


def test_the_stream_goes_on_from_its_position_and_is_shared_by_ranks() -> None:
    whole, resumed, half = (stream_of(small()) for _ in range(3))
    draw(whole, 130)
    resumed.seek(orjson.loads(orjson.dumps(whole.position())))
    half.seek(whole.position())
    expected, got, part = draw(whole, 50), draw(resumed, 50), draw(half, 50, slice(20, 50))
    for a, b, c in zip(expected, got, part, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a[20:], c)


@pytest.mark.slow
def test_a_score_counts_puzzles_whose_every_cell_is_right(tmp_path: Path) -> None:
    """A model that always answers token 2."""
    labels = np.full((3, 2, 2), 2, np.uint8)
    labels[1, 0, 0] = 3
    puzzles = Puzzles(np.ones_like(labels), labels, 6)
    config = small()
    with hurried():
        trainer = Trainer(config, puzzle_problem(config, 0, CPU), options(tmp_path), CPU, Ranks())
    with torch.no_grad():
        trainer.learner.model.output_head.weight.zero_()
        trainer.learner.model.output_head.weight[2] = 1e-3
    model = trainer.learner.model
    original = model.forward

    def constant(x: torch.Tensor, state: object, canvas: object) -> object:
        output = original(x, state, canvas)  # type: ignore[arg-type]
        return output._replace(logits=torch.eye(6)[2].expand_as(output.logits))

    model.forward = constant  # type: ignore[assignment, method-assign]
    figures = puzzle_score(puzzles, config.evaluation, 2, model, trainer.learner.table, Ranks(), None)
    assert figures == {"exact": pytest.approx(2 / 3), "cells": pytest.approx(11 / 12), "puzzles": 3}


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["sudoku", "maze"])
def test_puzzles_train_end_to_end(tmp_path: Path, problem: str) -> None:
    config = replace(small(problem), steps=2)
    with hurried():
        run = Trainer(config, puzzle_problem(config, 0, CPU), options(tmp_path), CPU, Ranks())
    assert run.run() == "done"
    assert run.evaluate()["puzzles"] == 20


def test_published_files_are_read(tmp_path: Path) -> None:
    def rows(seed: int) -> Path:
        made = sudoku.generate_sudokus(4, (6, 8), 9, np.random.default_rng(seed))
        text = [
            ",".join(["x", *("".join("." if t == sudoku.BLANK else str(t - 1) for t in g.ravel()) for g in pair), "0"])
            for pair in zip(made.inputs, made.labels, strict=True)
        ]
        path = tmp_path / f"{seed}.csv"
        path.write_text("\n".join(["source,question,answer,rating", *text]) + "\n")
        return path

    problem = puzzle_problem(small(train=rows(0), test=rows(1)), 0, CPU)
    assert problem.manifest["corpora"] == [{"name": str(tmp_path / "0.csv"), "puzzles": 9}]
    config = small(train=rows(0), test=rows(1), count=4, test_count=None)
    drawn = [puzzle_problem(config, seed, CPU) for seed in (0, 0, 1)]
    assert [part.manifest["held_out_puzzles"] for part in drawn] == [9] * 3
    assert [part.manifest["corpora"][0]["puzzles"] for part in drawn] == [4] * 3
    digests = [part.manifest["digest"] for part in drawn]
    assert digests[0] == digests[1] != digests[2], "random ones, by the seed"
    with pytest.raises(InputError, match="expected both a train and a test file, or neither; got one"):
        puzzle_problem(small(train=rows(0)), 0, CPU)


def test_puzzles_that_do_not_fit_the_model_are_refused() -> None:
    config = replace(small(), model=TRMConfig(vocabulary=6, canvas=(5, 5)))
    with pytest.raises(
        InputError, match=r"expected a model of vocabulary 6 and canvas \(4, 4\), as the puzzles, got 6 and \(5, 5\)"
    ):
        puzzle_problem(config, 0, CPU)
