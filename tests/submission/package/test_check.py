"""The package check without its runs, which `make package-check` makes: what it refuses, finds, and how it isolates."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from solver.answers import submission_json
from solver.answers.attempts import baseline
from solver.answers.run_json import FILE_NAME
from solver.tasks.load import load_tasks
from submission import notebook
from submission.package import check
from submission.package.build import PACKAGE, Settings, make_package, read_package
from submission.package.check import cell_lines, refuse_unfit, version_of, what_is_wrong
from submission.package.simulated_kaggle import SimulatedKaggle, isolation
from tests.solver.report.test_pictures import record
from tests.solver.tiny_tasks import refusal

HERE = Path(__file__).parents[1]
CHALLENGES, SOLUTIONS = HERE / "tiny_challenges.json", HERE / "tiny_solutions.json"
EXPECTED = {"mirror": 2, "tall": 1, "same": 1}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    make_package(tmp_path / "package", Settings(wheels=False))
    return tmp_path / "package"


@pytest.fixture
def kaggle(tmp_path: Path, package: Path) -> SimulatedKaggle:
    return SimulatedKaggle(tmp_path / "kaggle", package, read_package(package), CHALLENGES, SOLUTIONS)


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["check_package", *arguments])
    return check.main()


def test_both_layouts_have_what_kaggle_mounts(kaggle: SimulatedKaggle) -> None:
    newer = kaggle.arrange("newer")
    competition = kaggle.input / "competitions" / "arc-prize-2026-arc-agi-2"
    assert {path.name for path in competition.iterdir()} == {
        *(f"arc-agi_{split}_challenges.json" for split in ("test", "evaluation", "training")),
        *(f"arc-agi_{split}_solutions.json" for split in ("evaluation", "training")),
    }
    code = kaggle.input / "datasets" / "your-kaggle-name" / "arc-trm-code"
    assert (code / "submission" / "notebook.py").is_file()
    assert not os.access(code, os.W_OK) or os.geteuid() == 0
    (kaggle.working / "left.txt").touch()
    assert kaggle.arrange("older") < newer, "fewer folders"
    assert (kaggle.input / "arc-prize-2026-arc-agi-2" / "arc-agi_test_challenges.json").is_file()
    assert (kaggle.input / "arc-trm-code" / "solver" / "predict.py").is_file()
    assert not list(kaggle.working.iterdir()), "each run starts with an empty folder"


def test_every_trace_is_found(kaggle: SimulatedKaggle) -> None:
    kaggle.arrange("older")
    assert "submission.json" in what_is_wrong(kaggle, EXPECTED, scored=True)[0]
    tasks = load_tasks(str(CHALLENGES))
    submission_json.write(kaggle.working / "submission.json", baseline(tasks))
    assert "expected a file" in what_is_wrong(kaggle, EXPECTED, scored=True)[0], "there is no run.json"
    run = record(load_tasks(str(CHALLENGES), str(SOLUTIONS)))
    (kaggle.working / FILE_NAME).write_bytes(orjson.dumps(run))
    assert what_is_wrong(kaggle, EXPECTED, scored=True) == []
    for task in run["tasks"]:
        for test in task["test"]:
            test["votes"] = 0
    (kaggle.working / FILE_NAME).write_bytes(orjson.dumps(run))
    assert "got fallbacks alone" in what_is_wrong(kaggle, EXPECTED, scored=True)[0]
    missing = what_is_wrong(kaggle, EXPECTED, scored=False)
    assert len(missing) == 3
    assert "working/rehearsal: expected report.html, got none" in missing
    (kaggle.working / "rehearsal").mkdir()
    assert "no rehearsal" in what_is_wrong(kaggle, EXPECTED, scored=True)[0]
    (kaggle.working / "rehearsal").rmdir()
    (kaggle.working / "torch-2.dist-info").mkdir()
    assert "unpacked" in what_is_wrong(kaggle, EXPECTED, scored=True)[0]
    (kaggle.working / "torch-2.dist-info").rmdir()
    code = kaggle.input / "arc-trm-code" / "solver"
    code.chmod(0o755)
    (code / "cache.nbi").touch()
    fault = what_is_wrong(kaggle, EXPECTED, scored=True)[0]
    assert "arc-trm-code/solver/cache.nbi" in fault or "changes" in fault
    assert kaggle.changes()[-1].endswith("cache.nbi")


def test_what_is_started_apart_reaches_no_network_and_writes_no_input(kaggle: SimulatedKaggle) -> None:
    kaggle.arrange("newer")
    how = isolation(kaggle.input)
    if not how.prefix:
        assert "proxies" in how.words
        assert how.environment["https_proxy"] == how.environment["HTTPS_PROXY"]
        pytest.skip("unshare is not allowed here")
    probe = 'touch "$0/x" 2>/dev/null; cat /proc/net/dev'
    done = subprocess.run([*how.prefix, "sh", "-c", probe, str(kaggle.input)], capture_output=True, text=True)
    devices = [line.split(":")[0].strip() for line in done.stdout.splitlines()[2:]]
    assert set(devices) <= {"lo"}
    assert kaggle.changes() == []


def test_without_namespaces_proxies_lead_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where no unshare is
    how = isolation(tmp_path / "input")
    assert how.prefix == ()
    assert {how.environment[name] for name in ("http_proxy", "https_proxy", "all_proxy")} == {"http://127.0.0.1:9"}
    assert how.environment["PIP_NO_INDEX"] == "1"


def test_a_package_that_cannot_be_checked_is_refused(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(monkeypatch, str(package), "--challenges", str(CHALLENGES), "--solutions", str(SOLUTIONS)) == 1
    assert "--image bare" in capsys.readouterr().err
    assert main(monkeypatch, str(tmp_path), "--challenges", str(CHALLENGES), "--solutions", str(SOLUTIONS)) == 1
    assert "package.json" in capsys.readouterr().err
    about = read_package(package)
    about |= {"image": "bare", "files": {**about["files"], "wheels/requirements.lock": "0"}}
    packed = "requirements.lock: expected the file that was packed"
    assert packed in refusal(lambda: refuse_unfit(package, about, "3.12"))
    (package / "wheels").mkdir()
    (package / "wheels" / "requirements.lock").write_bytes(b"")
    about["files"]["wheels/requirements.lock"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    refuse_unfit(package, about, "3.12")
    assert "Python 3.11" in refusal(lambda: refuse_unfit(package, about, "3.11"))
    assert version_of(sys.executable) == ".".join(map(str, sys.version_info[:2]))
    assert "/nowhere: expected a Python to run, got: No such file" in refusal(lambda: version_of("/nowhere"))
    assert "/bin/false: expected a Python to run, got: no word" in refusal(lambda: version_of("/bin/false"))


def test_a_package_json_of_others_is_refused(tmp_path: Path) -> None:
    for content in ({}, [], {"made_by": "npm", "format": 1, "files": {}}, {"made_by": "arc-trm package", "format": 2}):
        (tmp_path / PACKAGE).write_bytes(orjson.dumps(content))
        assert PACKAGE in refusal(lambda: read_package(tmp_path))


def test_cells_are_told_as_lines() -> None:
    outputs: list[dict[str, Any]] = [
        {"output_type": "stream", "text": "a\nb\n"},
        {"output_type": "display_data", "data": {"text/html": "<p>", "text/plain": "x"}},
        {"output_type": "execute_result", "data": {"text/plain": "3"}},
        {"output_type": "error", "ename": "E", "evalue": "why"},
    ]
    assert cell_lines({"outputs": outputs}) == ["a", "b", "a page of 3 characters", "3", "E: why"]
    assert cell_lines({"cell_type": "markdown"}) == []


def test_the_notebooks_functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """A run that fails raises, but not in the scored run where a submission is there."""
    (tmp_path / "working").mkdir()
    (tmp_path / "input" / "x").mkdir(parents=True)
    commands: list[list[str]] = []

    def fail(command: list[str], *_: object) -> int:
        commands.append(command)
        return 3

    monkeypatch.setattr(notebook, "_stream", fail)
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    notebook.install_wheels(tmp_path)
    (tmp_path / "input" / "x" / "requirements.lock").write_text("nothing==1\n")
    with pytest.raises(RuntimeError, match="expected pip to install"):
        notebook.install_wheels(tmp_path)
    assert {"--no-deps", "--no-index"} <= set(commands[0]), "pip must not replace what the image has"
    with pytest.raises(RuntimeError, match="exit code 0, got 3"):
        notebook.run(tmp_path)
    notebook.preflight(tmp_path, ["--budget", "1h"])  # stops nothing
    assert commands[-1][-3:] == ["--preflight", "--budget", "1h"]
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    with pytest.raises(RuntimeError, match="exit code 0, got 3"):
        notebook.run(tmp_path)
    (tmp_path / "working" / "submission.json").touch()
    notebook.run(tmp_path)
    assert "the submission that is there stays" in capfd.readouterr().out
    assert notebook.show_report(tmp_path) is None
    (tmp_path / "working" / "rehearsal").mkdir()
    (tmp_path / "working" / "rehearsal" / "report.html").write_text('<p class="x">')
    page = notebook.show_report(tmp_path)
    assert page is not None
    assert "&lt;p class=&quot;x&quot;&gt;" in page._repr_html_()
