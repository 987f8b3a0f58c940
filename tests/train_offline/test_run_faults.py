"""Settings that make no run, folders that are not ours, checkpoints that are not whole: one line each."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from solver.__main__ import main
from solver.answers.journal import own_folder
from solver.common.checks import InputError
from solver.model.weights import load_knowledge
from solver.settings.config import CanvasConfig, LearnerConfig, TRMConfig
from tests.solver.samples import Full
from tests.train_offline.tiny_runs import CPU, corpus, options, train, trainer
from train_offline.checkpoints import begin, checkpoints, is_restart
from train_offline.metrics import read_metrics
from train_offline.settings.config import EvaluationConfig, PuzzleConfig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run of one step lies, to be left as it is."""
    folder = tmp_path_factory.mktemp("trained")
    trainer(folder, steps=1).run()
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of it to be harmed."""
    return shutil.copytree(trained, tmp_path / "copied")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: options(Path(), keep=0), "keep: expected 1 or more, got 0"),
        (lambda: options(Path(), checkpoint_steps=0), "checkpoint-steps: expected 1 or more, got 0"),
        (lambda: options(Path(), report_every=0), "report-every: expected 1 or more, got 0"),
        (lambda: options(Path(), seed=-1), "seed: expected 0 or more, got -1"),
        (lambda: options(Path(), seed=10**400), "seed: expected 0 to 4.61169e\\+18, got 1000000"),
        (lambda: LearnerConfig(betas=(0.9, 1.0)), "learner.betas: expected 0 to 0.999999, got 1"),
        (lambda: LearnerConfig(ema_decay=2.0), "learner.ema-decay: expected 0 to 1, got 2"),
        (lambda: LearnerConfig(lr=float("nan")), "learner.lr: expected 0 or more, got nan"),
        (lambda: LearnerConfig(supervision_steps=0), "learner.supervision-steps: expected 1 or more, got 0"),
        (lambda: EvaluationConfig(votes=0), "evaluation.votes: expected 1 or more, got 0"),
        (lambda: EvaluationConfig(every=0), "evaluation.every: expected 1 or more, got 0"),
        (lambda: PuzzleConfig(test_count=9_999_999), "puzzle.test-count: expected 1 to 1e\\+06, got 1e\\+07"),
        (lambda: CanvasConfig(sides=(8, 4)), r"canvases.sides: expected ascending sides of 1 to 30, got \(8, 4\)"),
        (lambda: CanvasConfig(sides=(8, 40)), "canvases.sides: expected 1 to 30, got 40"),
        (lambda: CanvasConfig(sides=()), r"canvases.sides: expected ascending sides of 1 to 30, got \(\)"),
        (lambda: CanvasConfig(fit_margin=-1), "canvases.fit-margin: expected 0 to 30, got -1"),
        (lambda: TRMConfig(expansion=-1.0), "model: expansion and rope_theta: expected positive numbers, got -1"),
    ],
)
def test_settings_that_make_no_run_are_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_a_vocabulary_that_is_not_arcs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model.vocabulary: expected 12 for ARC, got 5"):
        trainer(tmp_path, change=lambda config: replace(config, model=replace(config.model, vocabulary=5)))


def test_an_earlier_run_is_not_overwritten(trained: Path) -> None:
    with pytest.raises(InputError, match="expected no earlier run, got step-00000001: add --resume"):
        trainer(trained)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: replace(c, model=replace(c.model, width=32, row_width=32)), "expected this run's model"),
        (lambda c: replace(c, arc=replace(c.arc, largest_side=4)), "data: expected"),
    ],
)
def test_another_run_is_not_resumed(trained: Path, change: Callable[..., Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        trainer(trained, resume=True, change=change)


@pytest.mark.parametrize("name", ["metrics.jsonl", "elsewhere"])
def test_metrics_that_are_there_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text('{"step": 50, "group": "mine"}\n')
    if name == "elsewhere":
        trainer(tmp_path, steps=1).run()
    else:
        with pytest.raises(InputError, match=r"expected no earlier run, got metrics.jsonl: add --resume"):
            trainer(tmp_path)
    assert (tmp_path / "run" / name).read_text() == '{"step": 50, "group": "mine"}\n'


@pytest.mark.parametrize("line", ["{}", "[1]", "nonsense", '{"step": "x", "group": "train"}'])
def test_metrics_of_no_run_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=r"metrics.jsonl: line 1: expected metrics of a step, got"):
        trainer(tmp_path, resume=True)


def test_a_disk_that_is_full_between_checkpoints_delays_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, failed = Path.open, []

    def full(path: Path, *mode: Any, **more: Any) -> Any:
        if path.name == "metrics.jsonl" and len(failed) < 2:
            with real(path, *mode) as file:
                failed.append(file.write(b'{"half": '))  # and then there is no more room
            raise OSError(28, "No space left on device")
        return real(path, *mode, **more)

    monkeypatch.setattr(Path, "open", full)
    trainer(tmp_path).run()
    assert caplog.text.count("metrics.jsonl: expected to write metrics, got: No space left on device") == 2
    assert [line["step"] for line in read_metrics(tmp_path / "run") if line["group"] == "train"] == [2, 4, 6, 8]
    assert checkpoints(tmp_path / "run")


def test_a_screen_that_cannot_be_written_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    monkeypatch.setattr(sys, "stdout", Full())
    assert train(*corpus(tmp_path), "--out", str(tmp_path / "run"), "--steps", "3") == 1  # for the result on stdout
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000003"]


def test_an_out_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match=r"--out .*run: expected a folder to write to, got: "):
        trainer(tmp_path)


def changed(key: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "training.json"
        document = json.loads(path.read_text())
        if value is None:
            del document[key]
        else:
            document[key] = value
        path.write_text(json.dumps(document))

    return change


@pytest.mark.parametrize(
    "harm",
    [
        changed("stream", None),
        changed("stream", {"a": 1}),
        changed("optimizer_steps", "x"),
        changed("config", 3),
        lambda folder: (folder / "slots-0.safetensors").unlink(),
        lambda folder: (folder / "slots-0.safetensors").rename(folder / "slots-x.safetensors"),
        lambda folder: (folder / "training.safetensors").write_bytes((folder / "model.safetensors").read_bytes()),
        lambda folder: (folder / "training.safetensors").write_bytes(b"cut"),
        lambda folder: (folder / "training.json").write_text("{}"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(copied: Path, harm: Callable[[Path], None]) -> None:
    harm(checkpoints(copied / "run")[-1])
    with pytest.raises(InputError, match=r"step-00000001.*: expected"):
        trainer(copied, resume=True)


def flip(folder: Path) -> None:
    """Change one bit of a number, which makes another number of it."""
    path = folder / "training.safetensors"
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


def progress(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        document = json.loads((folder / "training.json").read_text())
        document["progress"].update(changes)
        (folder / "training.json").write_text(json.dumps(document))

    return change


@pytest.fixture(scope="module")
def twice_saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run with two checkpoints lies, to be left as it is."""
    folder = tmp_path_factory.mktemp("twice")
    trainer(folder, steps=2, checkpoint_steps=1).run()
    return folder


@pytest.mark.parametrize(
    "harm",
    [
        flip,
        progress(step="2"),
        progress(step=-2),
        progress(step=1),
        lambda f: (f / "model.safetensors").write_bytes(b""),
    ],
)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_resumed(
    twice_saved: Path, tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    copied = shutil.copytree(twice_saved, tmp_path / "copied")
    harm(checkpoints(copied / "run")[-1])
    assert trainer(copied, resume=True, steps=2).progress.step == 1
    assert "step-00000002" in caplog.text
    assert "resuming from the one before" in caplog.text


def test_two_runs_do_not_share_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with own_folder(tmp_path / "run" / "checkpoints", "lock"):
        assert train(*corpus(tmp_path), "--out", str(tmp_path / "run"), "--steps", "1", "--resume") == 1
    assert "run: expected a free folder, got one that another run is using" in capsys.readouterr().err


def test_other_code_is_told(trained: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("train_offline.checkpoints.code_digest", lambda: "another")
    trainer(trained, resume=True, steps=1)
    assert "step-00000001 was written by other code" in caplog.text


def test_settings_that_have_changed_are_told(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer(trained, resume=True, change=lambda c: replace(c, learner=replace(c.learner, lr=0.5), steps=9))
    assert [record.message.split("written with ")[1] for record in caplog.records] == ["learner.lr 0.001, now 0.5"]


def test_only_the_launch_that_began_a_run_restarts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    begin(tmp_path)
    assert not is_restart(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert is_restart(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    assert not is_restart(tmp_path)


def test_a_run_in_place_of_its_checkpoint_is_explained(trained: Path) -> None:
    with pytest.raises(InputError, match=r"expected a weights folder, got a run: give one of its checkpoints/step-"):
        load_knowledge(trained / "run", CPU)


def test_the_command_line_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curve"]) == 1
    assert capsys.readouterr().err == "error: curve: expected the folder of a run, got none\n"
