"""The loop: what it leaves, how it ends, and that a run that was killed goes on as if it had not been."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from solver.common.checks import InputError
from solver.learning.learner import Learner
from solver.learning.ranks import Ranks
from solver.model.weights import load_knowledge
from solver.settings.config import CanvasConfig
from solver.settings.presets import small_model
from solver.tokens.packed_stream import PackedStream
from tests.train_offline.tiny_runs import (
    ARGUMENTS,
    CPU,
    corpus,
    options,
    same_checkpoints,
    tiny_config,
    train,
    trainer,
)
from train_offline.checkpoints import checkpoints
from train_offline.metrics import read_metrics
from train_offline.settings.config import TrainConfig
from train_offline.trainer import Trainer

pytestmark = pytest.mark.slow


def test_a_run_leaves_weights_metrics_and_scores(tmp_path: Path) -> None:
    run = trainer(tmp_path, evaluate_every=4)
    assert run.run() == "done"
    folder = checkpoints(tmp_path / "run")[-1]
    assert folder.name == "step-00000008"
    knowledge = load_knowledge(folder, CPU)
    assert knowledge.model.config == run.learner.model.config
    assert {name for name, _ in knowledge.rows} == {"a", "b"}
    assert not knowledge.saw_test_outputs
    lines = read_metrics(tmp_path / "run")
    assert [(line["step"], line["group"]) for line in lines] == [
        (2, "train"), (4, "train"), (4, "evaluation"), (6, "train"), (8, "train"), (8, "evaluation"),
    ]  # fmt: skip
    for line in lines:
        values = [value for value in line.values() if isinstance(value, float)]
        assert values
        assert all(map(math.isfinite, values))
    train = [line for line in lines if line["group"] == "train"]
    assert all(0 <= line["input_share"] < 1 for line in train)
    assert any(line["input_share"] for line in train)
    assert all(line["examples_per_second"] > 0 and line["peak_share"] > 0 for line in train)
    assert all(1 <= line["supervision_steps"] <= 3 for line in train)
    assert lines[-1]["outputs"] == 1  # the test output of "b", which is not trained on


@pytest.mark.parametrize("rows", ["adam_atan2", "sign_sgd"])
def test_a_resumed_run_is_the_run_to_the_bit(tmp_path: Path, rows: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(whole, rows=rows).run()
    trainer(parts, rows=rows, steps=8, stop_after=4)
    again = trainer(parts, rows=rows, resume=True)
    assert again.progress.step == 4
    assert again.progress.restarts == 1
    again.run()
    same_checkpoints(whole / "run", parts / "run")
    steps = [line["step"] for line in read_metrics(parts / "run")]
    assert steps == sorted(steps)


def test_a_run_without_kept_states_goes_on_nearly_as_it_would_have(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trainer(whole, rows="sign_sgd").run()
    trainer(parts, rows="sign_sgd", stop_after=4, keep_states=False)
    small, large = (load_file(checkpoints(folder / "run")[-1] / "slots-0.safetensors") for folder in (parts, whole))
    assert not [name for name in small if name.endswith((".y", ".z"))]
    halted = {name.removesuffix("halted"): part for name, part in large.items() if name.endswith("halted")}
    kept = {canvas: len(large[canvas + "y"]) for canvas in halted}
    assert kept == {canvas: int((~part).sum()) for canvas, part in halted.items()}
    assert sum(kept.values()) < sum(map(len, halted.values()))
    trainer(parts, rows="sign_sgd", resume=True).run()
    expected, got = (read_metrics(folder / "run")[-2]["loss"] for folder in (whole, parts))
    assert got != expected
    assert got == pytest.approx(expected, rel=1e-2)


def test_kill_9_and_resume_is_the_run_to_the_bit(tmp_path: Path) -> None:
    """20 steps are 10, a kill that nothing can catch, and 10 more."""
    given = [*corpus(tmp_path), "--steps", "20", "--checkpoint-steps", "10", "--out"]
    command = [sys.executable, "-m", "train_offline", *ARGUMENTS, *given, str(tmp_path / "killed")]
    killed = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())})
    while killed.poll() is None and not checkpoints(tmp_path / "killed"):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait(600)
    for late in checkpoints(tmp_path / "killed")[1:]:  # saved between the first one and the kill
        late.rename(late.with_name("late-" + late.name))
    assert train(*given, str(tmp_path / "killed"), "--resume") == train(*given, str(tmp_path / "whole")) == 0
    same_checkpoints(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    ("given", "kept"),
    [({"checkpoint_steps": 1, "keep": 3}, "678"), ({"checkpoint_every": 0.0, "keep": 99}, "12345678")],
)
def test_the_last_checkpoints_are_kept(tmp_path: Path, given: dict[str, Any], kept: str) -> None:
    trainer(tmp_path, **given).run()
    assert "".join(path.name[-1] for path in checkpoints(tmp_path / "run")) == kept


def test_the_time_limit_ends_cleanly(tmp_path: Path) -> None:
    run = trainer(tmp_path, time_limit=0.0)
    assert run.run() == "time"
    assert run.progress.step == 1
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000001"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_end(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(tmp_path)
    step = at_step(3, lambda learner: os.kill(os.getpid(), number))
    monkeypatch.setattr(Learner, "step", step)
    handler = signal.getsignal(number)
    assert run.run() == "interrupted"
    assert checkpoints(tmp_path / "run")[-1].name == "step-00000003"
    assert signal.getsignal(number) == handler


@pytest.mark.parametrize("cause", ["signal", "time"])
def test_a_step_of_minutes_is_dropped_and_done_again_on_resume(
    tmp_path: Path, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solver.common.clock.STOP_GRACE", 0.0)
    monkeypatch.setattr("solver.common.clock.REPEAT", 0.01)
    losses, run = Learner._losses, trainer(tmp_path / "parts")

    def endless(learner: Learner, *given: Any) -> Any:
        if learner.step_count == 3:
            if cause == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                monkeypatch.setattr("solver.common.clock.Clock.left", lambda clock: -1.0)
            while True:
                time.sleep(0.001)
        return losses(learner, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "_losses", endless)
        assert run.run() == {"signal": "interrupted", "time": "time"}[cause]
    assert checkpoints(tmp_path / "parts" / "run")[-1].name == "step-00000003"
    monkeypatch.undo()
    trainer(tmp_path / "parts", resume=True).run()
    trainer(tmp_path / "whole").run()
    same_checkpoints(tmp_path / "whole" / "run", tmp_path / "parts" / "run")


def test_what_cannot_fit_is_refused_before_anything_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tmp_path)
    monkeypatch.setattr("train_offline.trainer.fresh_knowledge", None)  # nothing gets as far as the model
    monkeypatch.setattr("train_offline.trainer.free_memory", lambda device: 1e5)
    with pytest.raises(InputError, match=r"memory: expected 0.\d+ GB, got 0.0001 GB free: smaller --step-tokens, more"):
        Trainer(tiny_config(tmp_path), made._problem, options(tmp_path, resume=True), CPU, Ranks())


def at_step(number: int, act: Callable[[Learner], None]) -> Callable[..., Any]:
    """A learner's step that does something besides, once."""
    original, count = Learner.step, 0

    def step(learner: Learner, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            act(learner)
        return original(learner, *arguments)

    return step


@pytest.mark.parametrize("harm", [math.nan, 1e30])
def test_a_loss_that_explodes_keeps_the_last_good_checkpoint(
    tmp_path: Path, harm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(learner: Learner) -> None:
        with torch.no_grad():
            learner.model.output_head.weight.mul_(harm)

    monkeypatch.setattr(Learner, "step", at_step(5, poison))
    run = trainer(tmp_path, checkpoint_steps=4)
    with pytest.raises(InputError, match=r"step [56]: expected a sensible loss, got .*step-00000004 with --resume and"):
        run.run()
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000004"]


@pytest.mark.parametrize("fails", ["once", "always"])
def test_out_of_memory_takes_smaller_passes_and_then_says_what_to_do(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original, failed = Learner.step, list[float]()

    def step(learner: Learner, *given: Any) -> Any:
        if learner.step_count == 2 and (fails == "always" or not failed):
            failed.append(learner.chunk_tokens)
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
        return original(learner, *given)

    monkeypatch.setattr(Learner, "step", step)
    run = trainer(tmp_path, checkpoint_steps=2)
    if fails == "once":
        assert run.run() == "done"
        assert run.learner.step_count == run.progress.step == 8
        assert run.learner.chunk_tokens <= 300 / 2
    else:
        words = r"step 2: expected room for 300 tokens per step, got: .*step-00000002 with --resume and --step-tokens 1"
        with pytest.raises(InputError, match=words):
            run.run()
        assert failed[-1] < 2 * run.memory.slot_tokens
    assert caplog.text.count("out of memory: going on with half as many samples at once") == len(caplog.records) > 0


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of a step is that of the weights before it: a last step may ruin them unseen."""
    run = trainer(tmp_path, steps=2)
    original = Learner._move

    def move(learner: Learner, *given: Any) -> None:
        original(learner, *given)
        if learner.step_count == 2:
            with torch.no_grad():
                learner.model.halting_bias.fill_(math.nan)

    monkeypatch.setattr(Learner, "_move", move)
    with pytest.raises(InputError, match="got nan: start again"):
        run.run()
    assert not checkpoints(tmp_path / "run")


def test_leaks_are_written_into_the_checkpoint(tmp_path: Path) -> None:
    run = trainer(tmp_path, change=lambda c: replace(c, arc=replace(c.arc, allow_leaks=True)))
    run.run()
    assert load_knowledge(checkpoints(tmp_path / "run")[-1], CPU).saw_test_outputs


@pytest.mark.filterwarnings("ignore")  # torch.compile warns of itself
@pytest.mark.parametrize("mode", ["off", "eager"])
def test_compiled_layers_train_alike(tmp_path: Path, mode: Any) -> None:
    plain, compiled = tmp_path / "plain", tmp_path / "compiled"
    trainer(plain, steps=2).run()
    trainer(compiled, steps=2, compile=mode).run()
    a, b = (load_file(checkpoints(p / "run")[-1] / "training.safetensors") for p in (plain, compiled))
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], msg=name)


@pytest.mark.parametrize("wanted", [False, True])
def test_tensorboard_on_demand(tmp_path: Path, wanted: bool) -> None:
    trainer(tmp_path, tensorboard=wanted).run()
    assert bool(list((tmp_path / "run").glob("tensorboard/events*"))) == wanted


def test_metrics_of_a_killed_run_are_cut_back(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step":9,"group":"train"}\n{"step":')  # a kill in the midst of a line
    trainer(tmp_path, resume=True, steps=8)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()][-1] == 8


def test_more_ranks_than_slots_are_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    with pytest.raises(InputError, match="expected a slot per rank on every canvas, got 6 for 7 ranks"):
        Trainer(tiny_config(tmp_path), run._problem, options(tmp_path, resume=True), CPU, Ranks(0, 7))


def test_packed_steps_go_on_to_the_bit(tmp_path: Path) -> None:
    def packed(config: TrainConfig) -> TrainConfig:
        learner = replace(config.learner, supervision_steps=1)
        return replace(config, model=small_model(32), learner=learner, canvases=CanvasConfig("exact"))

    whole = trainer(tmp_path / "a", change=packed)
    assert isinstance(whole._problem.stream, PackedStream)
    whole.run()
    trainer(tmp_path / "b", change=packed, stop_after=3)
    assert trainer(tmp_path / "b", change=packed, resume=True).run() == "done"
    same_checkpoints(tmp_path / "a" / "run", tmp_path / "b" / "run")
