"""Prediction and voting: every variant once, stopping early or not, memory faults, ranking, fallbacks."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from kernels.canvas import END_OF_GRID, FIRST_COLOUR, robust_sizes
from kernels.symmetry import TRANSPOSES
from solver import predict
from solver.answers.attempts import fallbacks, two_attempts
from solver.answers.votes import Candidate
from solver.common.clock import Clock
from solver.fit import starting_table
from solver.model.trm import TRM, Output, State
from solver.model.weights import Fitted, fresh_knowledge
from solver.predict import Predictor, refine
from solver.settings.config import CanvasConfig, PredictConfig
from solver.settings.presets import small_model
from solver.tasks.task import Pair, Task
from solver.tokens.canvases import known_output
from solver.tokens.decode import Ballot
from solver.tokens.variants import make_variants
from tests.solver.samples import MIRROR, TALL, TASKS, config, grid

COUNT = 6
CPU_WORDS = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to …"


def make_predictor(device: torch.device | str = "cpu", **settings: object) -> Predictor:
    start = fresh_knowledge(config().model, 0, torch.device(device))
    variants = [make_variants(task.id, COUNT, seed=0) for task in TASKS]
    fitted = Fitted(start.model, *_reordered(starting_table(TASKS, variants, start), variants))
    return Predictor(TASKS, fitted, replace(config().predict, **settings), config().canvases)


def _reordered(started, variants):  # type: ignore[no-untyped-def]
    table, rows, _ = started
    return table, variants, rows


class Oracle:
    """Answers every input with itself, end-of-grid tokens included, from a chosen supervision step on."""

    config = config().model

    def __init__(self, settles_at: int = 1, halts_at: int = 99) -> None:
        self.settles_at, self.halts_at, self.steps, self.batches = settles_at, halts_at, 0, []

    def embed(self, tokens, condition, canvas):  # type: ignore[no-untyped-def]
        self.steps = 0
        return tokens.float()

    def fresh_state(self, batch, canvas):  # type: ignore[no-untyped-def]
        return State(torch.zeros(batch, 1), torch.zeros(batch, 1))

    def __call__(self, x, state, canvas):  # type: ignore[no-untyped-def]
        self.steps += 1
        self.batches.append(len(x))
        answer = x.long() if self.steps >= self.settles_at else (x.long() + self.steps) % 12
        logits = torch.nn.functional.one_hot(answer, 12).float()
        return Output(
            state, logits, torch.full((len(x), 2), 9.0 if self.steps >= self.halts_at else -9.0, device=x.device)
        )


def run_oracle(oracle: Oracle, **settings: object) -> tuple[int, torch.Tensor]:
    tokens = torch.full((4, 6), FIRST_COLOUR + 3)
    tokens[:, -1] = END_OF_GRID
    config = PredictConfig(supervision_steps=8, **settings)
    (best, colours, halting), spent = refine(oracle, tokens, None, (2, 3), config, Clock())  # type: ignore[arg-type]
    assert torch.equal(best.long(), tokens)
    assert colours[:, 0].tolist() == [3] * 4
    return spent // 4, halting


def test_samples_leave_when_their_answer_settles_or_they_halt() -> None:
    assert run_oracle(Oracle(settles_at=3), stable_steps=2)[0] == 5
    assert run_oracle(Oracle(settles_at=3), stable_steps=1)[0] == 4
    steps, halting = run_oracle(Oracle(halts_at=4, settles_at=4), stable_steps=9)
    assert steps == 4
    assert halting.min() > 0.95
    assert run_oracle(Oracle(), early_stop=False)[0] == 8  # published: all steps, whatever happens


def test_a_passed_deadline_ends_after_the_step_in_work() -> None:
    tokens = torch.full((2, 6), 5)
    config = PredictConfig(supervision_steps=8, early_stop=False)
    assert refine(Oracle(), tokens, None, (2, 3), config, Clock(0))[1] == 2  # type: ignore[arg-type]


def test_every_variant_of_every_test_input_is_predicted_once(device: torch.device) -> None:
    predictor = make_predictor(device)
    seen = Counter()
    for first, last in ((0, 2), (2, COUNT)):
        for predictions in predictor.run(first, last, Clock()):
            samples = predictions.samples
            assert predictions.tokens.shape == predictions.colours.shape
            assert predictions.colours.max() < 10
            assert ((predictions.halting >= 0) & (predictions.halting <= 1)).all()
            for test, symmetry, permutation in zip(samples.test, samples.symmetry, samples.permutation, strict=True):
                seen[int(test), int(symmetry), permutation.tobytes()] += 1
    assert len(seen) == 3 * COUNT
    assert set(seen.values()) == {1}
    assert list(predictor.run(0, COUNT, Clock(0))) == []


@pytest.mark.parametrize("largest", [1, 3])
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("too much"), RuntimeError(CPU_WORDS), MemoryError()],
    ids=lambda e: type(e).__name__,
)
def test_out_of_memory_halves_the_batch_and_loses_nothing(
    largest: int, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = predict.refine, []

    def scarce(model, inputs, *rest):  # type: ignore[no-untyped-def]
        sizes.append(len(inputs))
        if len(inputs) > largest:
            raise error
        return real(model, inputs, *rest)

    monkeypatch.setattr(predict, "refine", scarce)
    done = sum(len(p.samples.test) for p in make_predictor().run(0, COUNT, Clock()))
    assert done == 3 * COUNT
    assert max(sizes) > largest


def test_batches_under_a_deadline_follow_the_measured_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    def sizes(clock: Clock, probe: int) -> list[int]:
        monkeypatch.setattr(predict, "PROBE_TOKENS", probe)
        predictor = make_predictor(batch_tokens=10**9)
        return [len(p.samples.test) for p in predictor.run(0, COUNT, clock)]

    whole = sizes(Clock(), probe=1)
    assert sum(whole) == 3 * COUNT
    careful = sizes(Clock(1e6), probe=1)
    assert careful[0] == 1  # the first batch measures the pace,
    assert sum(careful) == 3 * COUNT
    assert careful == [1, whole[0] - 1]  # and the time is enough for all others at once


def test_a_choice_of_test_inputs_leaves_the_others_alone() -> None:
    predictor = make_predictor()
    for chosen in ({1}, {0, 2}, set()):
        seen = Counter(int(t) for p in predictor.run(1, COUNT, Clock(), tests=chosen) for t in p.samples.test)
        assert seen == dict.fromkeys(chosen, COUNT - 1)


def test_a_clock_that_stops_while_a_batch_is_planned_is_no_fault() -> None:
    predictor, clock = make_predictor(), Clock(60)
    list(predictor.run(0, 1, clock))  # learns the pace
    batches = predictor.run(1, COUNT, clock)
    next(batches)
    clock.stop()
    assert list(batches) == []


def test_other_faults_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(predict, "refine", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(make_predictor().run(0, 1, Clock()))


def test_a_sample_that_never_fits_costs_only_itself(monkeypatch: pytest.MonkeyPatch, caplog) -> None:  # type: ignore[no-untyped-def]
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(predict, "refine", full)
    assert list(make_predictor().run(0, 1, Clock())) == []
    assert caplog.text.count("out of memory with one sample") == 3


@pytest.mark.parametrize("decoder", ["robust", "published"])
def test_votes_count_equal_grids_whatever_their_variant(device: torch.device, decoder) -> None:  # type: ignore[no-untyped-def]
    """Answering each input with itself, all variants of a test input vote for that input."""
    predictor = make_predictor(device)
    ballot = Ballot(3)
    predictor._fitted.model = Oracle()  # type: ignore[assignment]
    for _ in range(2):
        for predictions in predictor.run(0, COUNT, Clock()):
            ballot.add(predictions, decoder)
    inputs = [pair.input for task in TASKS for pair in task.test]
    for test, expected in enumerate(inputs):
        (candidate,) = ballot.ranked(test)
        assert np.array_equal(candidate.grid, expected)
        assert candidate.votes == 2 * COUNT
        assert candidate.halting == pytest.approx(torch.tensor(-9.0).sigmoid().item(), rel=1e-3)


def test_ranking_is_by_votes_and_then_by_halting() -> None:
    ballot = Ballot(1)
    ballot._candidates[0] = {
        key: Candidate(grid(str(key)), votes, halting, weight=votes)
        for key, (votes, halting) in enumerate([(2, 0.1), (3, 0.1), (2, 0.9)])
    }
    assert [candidate.grid.item() for candidate in ballot.ranked(0)] == [1, 2, 0]


def test_attempts_differ_whenever_two_grids_are_known() -> None:
    def attempts(*grids: np.ndarray) -> list[list[list[int]]]:
        return [g.tolist() for g in two_attempts([Candidate(g, 1, 0.5) for g in grids], no_rule, 0)]

    no_rule = replace(MIRROR, train=(*MIRROR.train, Pair(grid("70", "89"), grid("70", "89"))))

    assert attempts(grid("1"), grid("2"), grid("3")) == [[[1]], [[2]]]
    first, second = attempts(grid("1"))
    assert first == [[1]]
    assert second == MIRROR.test[0].input.tolist()  # demonstrations keep their size: the input is the likelier answer
    assert attempts() == [g.tolist() for g in fallbacks(no_rule, 0)]
    assert attempts()[0] != attempts()[1]


def test_fallbacks_put_the_likelier_answer_first() -> None:
    assert [g.tolist() for g in fallbacks(MIRROR, 1)] == [
        MIRROR.test[1].input.tolist(),
        MIRROR.train[0].output.tolist(),
    ]
    assert fallbacks(TALL, 0)[0].tolist() == TALL.train[0].output.tolist()
    same = Task("same", (Pair(grid("1"), grid("7")),) * 2, (Pair(grid("7"), None),))
    assert two_attempts([], same, 0)[0].tolist() == two_attempts([], same, 0)[1].tolist() == [[7]]


def test_an_output_of_known_size_has_that_size_in_every_variant() -> None:
    torch.manual_seed(0)
    model, tasks = TRM(small_model(32)).eval(), [MIRROR, TALL]
    variants = [make_variants(task.id, 16, 0) for task in tasks]
    fitted = Fitted(model, torch.randn(2, 32), variants, [np.full(16, number) for number in range(2)])
    exact = CanvasConfig("exact")
    predictor = Predictor(tasks, fitted, PredictConfig(supervision_steps=1), exact)
    tests = [(task, index) for task in tasks for index in range(len(task.test))]
    seen = 0
    for predictions in predictor.run(0, 16, Clock()):
        sizes = robust_sizes(predictions.tokens.numpy())
        for test, symmetry, size in zip(predictions.samples.test, predictions.samples.symmetry, sizes, strict=True):
            known = known_output(*tests[test], exact)
            assert known != (0, 0)
            assert tuple(size) == (known[::-1] if TRANSPOSES[symmetry] else known)
            seen += 1
    assert seen == 16 * len(tests)
