"""The comparison of recipes: the decoder is causal, its answers are greedy, and points are measured once."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.decoder import Decoder, DecoderPredictor, DecoderStream, Lengths, Sequences, given_tokens
from benchmarks.efficiency import RECIPES, RecipeName, recipe
from kernels.canvas import END_OF_GRID, FIRST_COLOUR, IGNORE, VOCABULARY
from solver.__main__ import main
from solver.common.clock import Clock
from solver.model.packing import PACKED
from solver.model.trm import Condition
from solver.model.weights import Fitted
from solver.settings.config import CanvasConfig, PredictConfig
from solver.tokens.shuffle import TaskExamples
from solver.tokens.variants import Variants, make_variants
from tests.solver.samples import MIRROR, TALL, save_challenges

CPU = torch.device("cpu")
LENGTHS: list[tuple[int, Lengths]] = [(2, ((2, 2), (1, 3))), (1, ((1, 2), (2, 2)))]


def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(replace(recipe("decoder").config.model, width=32, heads=1, row_width=32)).eval()


def logits(model: Decoder, tokens: Tensor, groups: list[tuple[int, Lengths]]) -> Tensor:
    place = Sequences.of_lengths(groups, CPU)
    rows, symmetry = torch.ones(place.samples, 32), torch.arange(place.samples)
    x = model.embed(tokens, Condition(rows, symmetry), place)
    return model(x, model.fresh_state(place.samples, place), place).logits[0]


@torch.inference_mode()
def test_a_token_sees_its_own_sequence_up_to_itself() -> None:
    model, tokens = decoder(), torch.randint(0, 2 * VOCABULARY, (1, 7 + 7 + 6))
    before = logits(model, tokens, LENGTHS)
    changed = tokens.clone()
    changed[0, 10] = (changed[0, 10] + 1) % VOCABULARY  # in the second sequence, which is 7 to 13
    differs = ((logits(model, changed, LENGTHS) - before).abs() > 1e-6).any(dim=1).nonzero()[:, 0].tolist()
    assert differs == [10, 11, 12, 13]
    alone = logits(model, tokens[:, :7], [(1, LENGTHS[0][1])])
    torch.testing.assert_close(alone, before[:7], atol=1e-5, rtol=1e-5)


def test_an_output_cell_is_given_the_one_before_it() -> None:
    variants = make_variants(TALL.id, 1, seed=0)
    stream = DecoderStream(
        [TaskExamples(TALL.train[:1] * 2, variants, np.zeros(1, int))], CanvasConfig("exact"), 100, 0, CPU
    )
    batch = stream.draw(PACKED, 1)
    question, answer = TALL.train[0].input, TALL.train[0].output
    assert answer is not None
    cells = (answer.ravel() + FIRST_COLOUR).tolist()
    assert batch.inputs[0].tolist() == [
        *(question.ravel() + FIRST_COLOUR).tolist(),
        2 * VOCABULARY,
        *(VOCABULARY + cell for cell in cells[:-1]),
    ]
    assert batch.labels[0].tolist() == [IGNORE] * question.size + cells
    assert END_OF_GRID not in batch.labels[0].tolist()  # the size is known
    assert stream.tokens(PACKED) == question.size + answer.size


@torch.inference_mode()
def test_answers_are_what_one_cell_after_the_other_gives() -> None:
    model, table = decoder(), torch.randn(1, 32)
    variants = Variants(np.array([0, 1], np.uint8), np.tile(np.arange(10, dtype=np.uint8), (2, 1)))
    fitted = Fitted(model, table, [variants], [np.zeros(2, np.int64)])
    predictor = DecoderPredictor([MIRROR], fitted, PredictConfig(), CanvasConfig("exact"))
    found = list(predictor.run(0, 2, Clock()))
    assert sum(len(part.samples.test) for part in found) == 2 * len(MIRROR.test)
    for part in found:
        for k, (test, symmetry) in enumerate(zip(part.samples.test, part.samples.symmetry, strict=True)):
            question = np.rot90(MIRROR.test[test].input, symmetry)
            kind, cells = (question.shape, question.shape), question.size  # an output is as large as its input
            answer = torch.zeros(1, cells, dtype=torch.int64)
            given = torch.from_numpy(question.astype(np.int64).ravel() + FIRST_COLOUR)[None]
            place = Sequences.of_lengths([(1, kind)], CPU)
            for cell in range(cells):
                tokens = torch.cat([given, given_tokens(answer, VOCABULARY)], dim=1)
                x = model.embed(tokens, Condition(table, torch.tensor([int(symmetry)])), place)
                answer[0, cell] = (
                    model(x, model.fresh_state(1, place), place).logits[0, cells + cell, FIRST_COLOUR:].argmax()
                    + FIRST_COLOUR
                )
            height, width = question.shape
            assert part.tokens[k, :height, :width].flatten().tolist() == answer[0].tolist()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_built_under_its_name(name: RecipeName) -> None:
    made = recipe(name)
    assert made.config.name == name
    small = replace(made.config.model, width=32, heads=1, row_width=32)
    assert made.kind(small).config == small


@pytest.mark.slow
def test_points_are_measured_once_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"{save_challenges(tmp_path / 'tasks.json', [MIRROR, TALL], outputs=True)}:demonstrations"
    command = ["efficiency", "--out", str(tmp_path / "out"), "--flops", "1e8", "--data", data]
    assert main(command) == 0
    first = capsys.readouterr().out
    points = json.loads((tmp_path / "out" / "efficiency.json").read_text())
    assert [point["recipe"] for point in points] == ["decoder", "winner"]
    for point in points:
        assert point["all"]["outputs"] == point["of_training_tasks"]["outputs"] > 0
        assert 0 <= point["all"]["pass@1"] <= point["all"]["pass@2"] <= 1
        assert point["steps"] == 1  # the least
        assert point["held_out_loss"] > 0
    assert (tmp_path / "out" / "efficiency.png").read_bytes().startswith(b"\x89PNG")
    assert main(command) == 0
    again = capsys.readouterr()
    assert first.endswith(again.out)
    assert "held out" not in again.err  # nothing was trained
    assert main([*command, "--largest-side", "5"]) == 1
    assert "choose another --out" in capsys.readouterr().err
    assert main(["efficiency", "--seeds", "0"]) == 1
    assert "seeds: expected 1 or more, got 0" in capsys.readouterr().err
