"""Out of memory in fitting: smaller steps, then a canvas less, then no fitting; votes come all the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from solver import predict
from solver.answers import submission_json
from solver.answers.run_json import read_run
from solver.answers.submission_json import expected_counts
from solver.common.clock import Clock
from solver.fit import Fitting
from solver.learning.learner import Learner
from solver.learning.memory import TrainingMemory
from solver.model.weights import fresh_knowledge
from solver.model.without_data import ROOM
from solver.run.console import solve_to_files
from tests.solver.run.simulated import square_task
from tests.solver.samples import TASKS, Watching, config, make_fitting, make_run, run_through

CPU = torch.device("cpu")
CPU_WORDS = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to …"
ERRORS = [torch.OutOfMemoryError("too much"), RuntimeError(CPU_WORDS), MemoryError()]
LARGEST = 10**9
BIG = (8, 8)  # the canvas of the last task
MORE = [*TASKS, square_task("big", 7)]

Canvas = tuple[int, int]


class Memory:
    """A learner that runs out of it above a number of slots on a canvas, at the start of a step or in its midst."""

    def __init__(self, patch: pytest.MonkeyPatch, room: Any, error: Exception, where: str = "step") -> None:
        self.tried: list[tuple[Canvas, int]] = []
        self.done: list[tuple[Canvas, int]] = []
        step, losses, move = Learner.step, Learner._losses, Learner._move

        def check(place: str) -> None:
            canvas, slots = self.tried[-1]
            if place == where and slots > room(canvas):
                raise error

        def checked_step(learner: Learner, canvas: Canvas, *rest: Any) -> Any:
            slots = learner.slots[canvas].total
            self.tried.append((canvas, slots))
            check("step")
            metrics = step(learner, canvas, *rest)
            self.done.append((canvas, slots))
            return metrics

        def in_losses(*given: Any) -> Any:
            check("losses")
            return losses(*given)

        def in_move(*given: Any) -> None:
            check("move")
            move(*given)

        patch.setattr(Learner, "step", checked_step)
        patch.setattr(Learner, "_losses", in_losses)
        patch.setattr(Learner, "_move", in_move)


def fit(steps: int = 12, **more: Any) -> Fitting:
    settings = config(steps, **more)
    fitting = make_fitting(MORE, fresh_knowledge(settings.model, 0, CPU), settings)
    list(fitting.run(Clock()))
    return fitting


def go_on(fitting: Fitting) -> None:
    """Fit as many steps again, with other tasks in focus."""
    fitting.focus([1.0, 0.25, 1.0])
    fitting._config = replace(fitting._config, steps=2 * fitting.steps)
    list(fitting.run(Clock()))


def finite(fitting: Fitting) -> bool:
    fitted = fitting.fitted()
    return bool(fitted.table.isfinite().all()) and all(bool(p.isfinite().all()) for p in fitted.model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["step", "losses", "move"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_a_step_that_is_too_large_is_halved(where: str, error: Exception, monkeypatch, caplog) -> None:  # type: ignore[no-untyped-def]
    memory = Memory(monkeypatch, lambda canvas: 3, error, where)
    fitting = fit(step_tokens=1000)
    assert fitting.steps == len(memory.done) == 12
    assert max(slots for _, slots in memory.tried) > 3
    assert max(slots for _, slots in memory.done) <= 3
    assert len({canvas for canvas, _ in memory.done}) > 1  # every canvas has still its share
    failed = len(memory.tried) - len(memory.done)
    assert caplog.text.count("going on with half as many") == failed == len(caplog.records)
    assert finite(fitting)
    assert bool(fitting.fitted().table.any())


@pytest.mark.slow
def test_smaller_steps_stay_when_other_tasks_come_into_focus(monkeypatch, caplog) -> None:  # type: ignore[no-untyped-def]
    memory = Memory(monkeypatch, lambda canvas: 3, ERRORS[0])
    fitting = fit(steps=40, step_tokens=1000)
    before = len(caplog.records)
    go_on(fitting)
    assert len(caplog.records) == before
    assert len(memory.done) == fitting.steps == 80


def test_an_abandoned_step_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of the failed step must not reach the next one; states of other canvases must not fill the memory."""
    memory = Memory(monkeypatch, lambda canvas: 3, ERRORS[0], "move")
    seen = []
    real = Learner.abandon_step

    def look(learner: Learner) -> None:
        assert any(p.grad is not None for p in learner.model.parameters())
        real(learner)
        seen.append(all(p.grad is None or not p.grad.any() for p in learner.model.parameters()))
        assert not learner.slots

    monkeypatch.setattr(Learner, "abandon_step", look)
    fit(step_tokens=1000)
    assert seen
    assert all(seen)
    assert memory.done


def test_pairs_of_a_canvas_that_never_fits_are_left_out(monkeypatch, caplog) -> None:  # type: ignore[no-untyped-def]
    memory = Memory(monkeypatch, lambda canvas: 0 if canvas == BIG else LARGEST, ERRORS[0])
    fitting = fit(steps=30)
    assert fitting.steps == 30
    assert BIG in {canvas for canvas, _ in memory.tried}
    assert {canvas for canvas, _ in memory.done} == canvases() - {BIG}
    tried = len(memory.tried)
    go_on(fitting)
    assert BIG not in {canvas for canvas, _ in memory.tried[tried:]}
    assert caplog.text.count("its pairs left out") == 1
    assert finite(fitting)


def canvases() -> set[Canvas]:
    settings = config()
    fitting = make_fitting(MORE, fresh_knowledge(settings.model, 0, CPU), settings)
    return set(fitting._new_stream().canvases)


def test_where_no_step_fits_the_start_votes(monkeypatch, caplog) -> None:  # type: ignore[no-untyped-def]
    memory = Memory(monkeypatch, lambda canvas: 0, ERRORS[0])
    fitting = fit()
    assert fitting.steps == 0
    assert not memory.done
    assert len(memory.tried) < 40
    assert caplog.text.count("nothing more to fit") == 1
    assert caplog.text.count("its pairs left out") == len(canvases()) - 1
    assert not fitting.fitted().table.any()


@pytest.mark.parametrize(
    ("room", "chunk", "left_out"),
    [(9999, 640, False), (400, 320, False), (200, 192, False), (63, 48, True), (15, None, True)],
)
def test_passes_are_planned_before_the_first_step(
    room: int, chunk: int | None, left_out: bool, monkeypatch, caplog
) -> None:  # type: ignore[no-untyped-def]
    """With room for so many tokens at once, samples of 16 and 64 tokens, and usual passes of 640."""
    memory = Memory(monkeypatch, lambda canvas: LARGEST, ERRORS[0])
    monkeypatch.setattr("solver.fit.pass_tokens", lambda *_: 640)
    monkeypatch.setattr("solver.fit.free_memory", lambda device: room / ROOM)
    monkeypatch.setattr(TrainingMemory, "held", 0)
    monkeypatch.setattr(TrainingMemory, "peak", lambda memory, chunk: chunk * memory.slot_tokens)
    fitting = fit(steps=30, step_tokens=1000)
    assert (BIG in {canvas for canvas, _ in memory.tried}) == (not left_out)
    assert fitting.steps == (30 if chunk else 0)
    if chunk:
        assert {slots for _, slots in memory.tried} == {1000 // 16} | (set() if left_out else {1000 // 64})
        assert fitting._learner.chunk_tokens == chunk
    assert ("GB free" in caplog.text) == left_out


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("room", [0, 2], ids=["nothing fits", "two fit"])
def test_a_run_without_memory_leaves_a_valid_submission(
    room: int, each: bool, tmp_path: Path, monkeypatch, caplog
) -> None:  # type: ignore[no-untyped-def]
    """In fitting and in prediction both."""
    memory = Memory(monkeypatch, lambda canvas: room, ERRORS[1], "losses")
    real = predict.refine

    def scarce(model: Any, inputs: Any, *rest: Any) -> Any:
        if len(inputs) > 2:
            raise ERRORS[1]
        return real(model, inputs, *rest)

    monkeypatch.setattr(predict, "refine", scarce)
    run = make_run(together=1 if each else None)
    outcome, record = solve_to_files(run, tmp_path / "submission.json", "hand-made", show=False)
    submission_json.check(tmp_path / "submission.json", expected_counts(TASKS))
    assert read_run(tmp_path)["notes"] == record["notes"]
    assert outcome.fit_steps == len(memory.done) == ((6 if each else 3) if room else 0)
    votes = [test["votes"] for task in record["tasks"] for test in task["test"]]
    assert votes == [8, 8, 8]
    assert "out of memory" in caplog.text


def test_other_faults_of_a_step_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    Memory(monkeypatch, lambda canvas: 0, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        fit()


def test_a_fit_that_cannot_go_on_ends_the_rounds(monkeypatch, caplog) -> None:  # type: ignore[no-untyped-def]
    Memory(monkeypatch, lambda canvas: 0, ERRORS[0])
    watcher = Watching()
    run_through(make_run(Clock(600.0), steps=None), watcher)
    assert watcher.rounds <= 8  # of 1024 and more Votes.add makes an OverflowError
    assert caplog.text.count("nothing more to fit") == 1
