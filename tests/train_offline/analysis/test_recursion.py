"""Recursion looked at from outside gives what the model and the solver give themselves."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from solver.common.clock import Clock
from solver.model.trm import TRM
from solver.model.weights import Fitted, Knowledge
from solver.predict import Predictor
from solver.settings.config import PredictConfig
from solver.tokens.decode import Ballot
from tests.solver.samples import TASKS
from tests.train_offline.analysis.analysis_samples import SHARED, VARIANT, bench, deeper, knowledge
from train_offline.analysis.forward import Bench, Judge, answer, trajectory, truth_key, with_recursion
from train_offline.analysis.recursion import probe_places, probes, step_curve, stop, try_recursion
from train_offline.analysis.vote_statistics import last_steps

KINDS = {
    "per cell": SHARED,
    "recursive": deeper(SHARED),
    "variant": replace(VARIANT, positions="rope2d"),
    "one latent": deeper(SHARED, latents=1),
    "two networks": deeper(SHARED, networks=2),
}


def votes_of_predictor(known: Knowledge, at: Bench, config: PredictConfig) -> list[Counter[int]]:
    """Votes by key of every test input, as `solver` predicts and counts them."""
    fitted = Fitted(known.model, at.subject.knowledge.table, at.subject.variants, at.subject.rows)
    predictor, ballot = Predictor(TASKS, fitted, config, at.subject.canvases), Ballot(3)
    for predictions in predictor.run(0, 6, Clock()):
        ballot.add(predictions)
    return [Counter({truth_key(c.grid): c.votes for c in ballot.ranked(test)}) for test in range(3)]


def votes_of(keys: np.ndarray, at: Bench) -> list[Counter[int]]:
    parts = (keys[at.starts[test] : at.starts[test + 1]].tolist() for test in range(3))
    return [Counter(key for key in part if key) for part in parts]


@pytest.mark.parametrize("kind", ["per cell", "variant"])
def test_the_last_step_is_what_the_predictor_answers(kind: str, device: torch.device) -> None:
    known = knowledge(KINDS[kind])
    at = bench(known, device=device)
    full = trajectory(at, at.examples(), 3)
    expected = votes_of_predictor(known, at, PredictConfig(3, early_stop=False))
    assert sum(map(Counter.total, expected)) > 0
    assert votes_of(full.answers.key[-1], at) == expected
    curve = step_curve(full, Judge(at, np.random.default_rng(0)))
    assert [point["step"] for point in curve] == [1, 2, 3]
    assert curve[-1]["exact"]["mean"] == pytest.approx(full.answers.right[-1].mean())


@pytest.mark.slow
def test_early_answers_are_those_of_the_predictor_and_of_a_replay() -> None:
    known = knowledge(deeper(SHARED))
    at = bench(known, batch_tokens=1)  # one by one, so that each leaves when it is done
    full = trajectory(at, at.examples(), 8)
    limit = float(np.quantile(full.answers.halting, 0.8))
    config = PredictConfig(8, True, 2, limit, batch_tokens=1)
    found, spent = answer(at, at.examples(), config)
    assert votes_of(found.key, at) == votes_of_predictor(known, at, config)
    last = last_steps(full.same, full.answers.halting, 2, limit)
    assert (full.answers.key[last, np.arange(18)] == found.key).all()
    assert spent.steps == (last + 1).sum()
    assert 0 < last.mean() < 7
    rule = stop(full, 2, limit, Judge(at, np.random.default_rng(0)))
    assert rule["mean_steps"] * 18 == pytest.approx(spent.steps)
    assert stop(full, None, None, Judge(at, np.random.default_rng(0)))["agreement"] == 1


def test_batches_do_not_change_answers() -> None:
    known = knowledge()
    one, many = (bench(known, batch_tokens=tokens) for tokens in (1, 10_000))
    single = trajectory(one, one.examples(), 2)
    batched = trajectory(many, many.examples(), 2)
    assert (single.answers.key == batched.answers.key).all()
    assert single.answers.halting == pytest.approx(batched.answers.halting, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_other_cycles_are_those_of_a_model_built_with_them(kind: str) -> None:
    known = knowledge(KINDS[kind])
    at, own = bench(known), known.model.config
    plain = trajectory(at, at.examples(), 2)
    same = trajectory(at, at.examples(), 2, with_recursion(known.model, own))
    assert (same.answers.key == plain.answers.key).all()
    shape = replace(own, cycles=own.cycles + 1, latent_updates=2)
    other = TRM(shape).eval()
    other.load_state_dict(known.model.state_dict())
    tried = trajectory(at, at.examples(), 2, with_recursion(known.model, shape))
    built = trajectory(at, at.examples(), 2, other)
    assert (tried.answers.halting == built.answers.halting).all()
    assert (tried.answers.halting != plain.answers.halting).any()
    assert known.model.config is own
    assert (trajectory(at, at.examples(), 2).answers.halting == plain.answers.halting).all()


def test_the_sweep_at_its_own_shape_is_the_plain_evaluation() -> None:
    known = knowledge(deeper(SHARED))
    at = bench(known)
    judge = Judge(at, np.random.default_rng(0))
    own = try_recursion(at, at.examples(), known.model.config, 3, judge)
    plain = trajectory(at, at.examples(), 3)
    assert own["own"]
    assert own["cells"]["mean"] == pytest.approx(judge.examples(plain.cells[-1])["mean"])
    more = try_recursion(at, at.examples(), replace(known.model.config, cycles=4), 3, judge)
    assert not more["own"]
    assert own["gflop_per_example"] < more["gflop_per_example"] < 2 * own["gflop_per_example"]


@pytest.mark.parametrize("kind", KINDS)
def test_probes_end_with_the_models_answer(kind: str) -> None:
    model = knowledge(KINDS[kind]).model
    x = torch.randn(2, model.config.puzzle_tokens + 6, 16)
    with torch.inference_mode():
        seen = list(probes(model, x, (2, 3)))
        after = model(x, model.fresh_state(2, (2, 3)), (2, 3)).state.y
    places = probe_places(model.config)
    assert len(seen) == len(places)
    assert torch.equal(seen[-1], after)
    assert places[-1] == ((model.config.cycles, len(places) // model.config.cycles), True)


def test_a_probe_updates_the_answer_from_the_latent_as_it_is() -> None:
    model = knowledge(deeper(SHARED, networks=2)).model
    x, canvas = torch.randn(2, model.config.puzzle_tokens + 6, 16), (2, 3)
    with torch.inference_mode():
        seen = list(probes(model, x, canvas))
        y, z = model.fresh_state(2, canvas)
        rotary, expected = model.rotary(canvas, x.device), []
        for _cycle in range(2):
            for _update in range(3):
                z = model.network(z, y + x, rotary)
                expected.append(model.answer_network(y, z, rotary))
            y = expected[-1]
    assert [is_answer for _, is_answer in probe_places(model.config)] == [False, False, True] * 2
    for ours, theirs in zip(seen, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_cells_and_answers_are_read_off_logits() -> None:
    known = knowledge()
    at = bench(known)
    examples = at.examples()
    for test, grid in ((0, TASKS[0].test[0].output), (2, TASKS[1].test[0].output)):
        place = np.arange(at.starts[test], at.starts[test] + 1)  # the canonical one
        assert grid is not None
        tokens = np.zeros((8, 8), int)
        height, width = grid.shape
        tokens[:height, :width] = grid + 2
        tokens[height, :width] = tokens[:height, width] = 1
        for wrong in (0, 1):
            tokens[0, 0] += wrong  # another colour
            logits = torch.nn.functional.one_hot(torch.from_numpy(tokens).view(1, -1), 12).float()
            _, right, cells = at.grade(logits, examples.at(place), (8, 8))
            assert right.tolist() == [not wrong]
            assert cells.tolist() == [pytest.approx(1 - wrong / grid.size)]
            if height > 1 and not wrong:  # a canvas that is too small: the cells beyond it are wrong
                few = logits.view(1, 8, 8, 12)[:, : height - 1].flatten(1, 2)
                assert at.grade(few, examples.at(place), (height - 1, 8))[2].tolist() == [
                    pytest.approx(1 - width / grid.size)
                ]


def test_every_variant_has_its_row() -> None:
    at = bench(knowledge(VARIANT))
    assert at.subject.rows[1].tolist() == [6, 7, 8, 9, 10, 11]
    assert (at.examples().row[at.starts[:-1]] == [0, 0, 6]).all()
