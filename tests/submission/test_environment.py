"""What is found on a machine, which tasks a file holds, who takes which."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver.common.checks import InputError
from solver.common.clock import Clock
from submission import environment
from submission.challenges import BLANK, load_challenges, sample_answers
from submission.environment import find_devices, find_environment, find_weights
from submission.workers.job import share_tasks
from tests.solver.samples import MIRROR, TALL, TASKS, as_json
from tests.submission.runs import kaggle_files


def test_the_competition_layout_comes_first_and_weights_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KAGGLE_ROOT", str(tmp_path))
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN", raising=False)
    kaggle_files(tmp_path / "input" / "arc-prize")
    new = kaggle_files(tmp_path / "input" / "competitions" / "arc-prize")
    weights = tmp_path / "input" / "datasets" / "me" / "trm" / "mini"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").touch()
    found = find_environment(None, None)
    assert find_weights(found.attached, Clock()) == []  # half a folder is none
    (weights / "config.json").touch()
    assert find_weights(found.attached, Clock()) == []  # so far it may be anybody's model
    (weights / "puzzles.json").touch()
    assert find_weights(found.attached, Clock()) == [weights]
    assert (found.input, found.working) == (new, tmp_path / "working")
    assert not found.scored
    assert "2 folders hold" in caplog.text
    given = find_environment(tmp_path / "input" / "arc-prize", tmp_path / "w")
    assert (given.input.name, given.working) == ("arc-prize", tmp_path / "w")
    with pytest.raises(InputError, match=r"--input .*: expected a folder with arc-agi_test_challenges.json"):
        find_environment(tmp_path, None)


def test_the_search_for_weights_ends_in_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert find_weights(tmp_path, Clock(0.0)) == []
    assert "got no further than" in caplog.text


def test_links_among_the_inputs_are_followed_once(tmp_path: Path) -> None:
    """Twenty links to their own folder would make 20 ** depth places."""
    (tmp_path / "input").mkdir()
    elsewhere, loops = tmp_path / "elsewhere", tmp_path / "input" / "loops"
    elsewhere.mkdir()
    for name in ("model.safetensors", "config.json", "puzzles.json"):
        (elsewhere / name).touch()
    loops.mkdir()
    for number in range(20):
        (loops / f"l{number}").symlink_to(loops)
    (tmp_path / "input" / "linked").symlink_to(elsewhere)
    assert find_weights(tmp_path / "input", Clock()) == [tmp_path / "input" / "linked"]


@pytest.mark.parametrize(
    ("probe", "devices"),
    [("print(4)", ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]), ("print(0)", ["cpu"]), ("raise SystemExit(9)", ["cpu"])],
)
def test_cards_are_counted_by_another_process(
    probe: str, devices: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(environment, "PROBE", probe)
    assert find_devices() == devices
    assert ("taking the CPU" in caplog.text) == ("SystemExit" in probe)
    assert find_devices(["cuda:1"]) == ["cuda:1"]


def test_a_probe_that_hangs_costs_a_part_of_a_short_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def hang(*_: object, timeout: float, **__: object) -> None:
        waits.append(timeout)
        raise subprocess.TimeoutExpired("probe", timeout)

    monkeypatch.setattr(environment.subprocess, "run", hang)
    assert find_devices(["auto"], 20.0) == find_devices() == ["cpu"]
    assert 1 <= waits[0] <= 6
    assert waits[1] == environment.PROBE_SECONDS


def test_broken_tasks_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "challenges.json"
    broken = {"a": 5, "b": {"test": [{"input": [[3]]}, 4]}, "c|||d": {}, "e": {"train": [], "test": []}}
    path.write_text(json.dumps({"mirror": as_json(MIRROR), **broken, "tall": as_json(TALL)}))
    challenges = load_challenges(path)
    assert [task.id for task in challenges.tasks] == ["mirror", "tall"]
    assert {name: len(attempts) for name, attempts in challenges.broken.items()} == {"a": 1, "b": 2, "e": 1}
    assert challenges.broken["b"][0][0].tolist() == [[3]]
    assert challenges.broken["b"][1][0] is BLANK
    assert len(challenges.faults) == 4
    assert len(load_challenges(path, {"a": 3, "b": 1}).broken["a"]) == 3
    assert len(load_challenges(path, {"a": 3, "b": 1}).broken["b"]) == 1
    path.write_text("{}")
    with pytest.raises(InputError, match="expected 1 to"):
        load_challenges(path)


def test_a_task_file_and_a_folder_are_challenges_too(tmp_path: Path) -> None:
    for task in TASKS:
        (tmp_path / f"{task.id}.json").write_text(json.dumps(as_json(task)))
    assert [task.id for task in load_challenges(str(tmp_path / "tall.json")).tasks] == ["tall"]
    assert [task.id for task in load_challenges(str(tmp_path)).tasks] == ["mirror", "tall"]


def test_a_sample_submission_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "sample_submission.json"
    path.write_text(json.dumps({"a": [{"attempt_1": [[0]], "attempt_2": [[0]]}]}))
    assert len(sample_answers(path)["a"]) == 1
    for bad in ([], {"a": [{"attempt_1": [[0]]}]}, {"a": 3}):
        path.write_text(json.dumps(bad))
        with pytest.raises(InputError):
            sample_answers(path)


@given(st.lists(st.sampled_from(TASKS), max_size=20), st.integers(1, 6))
def test_shards_hold_every_task_once_and_differ_by_one_task_at_most(tasks: list, count: int) -> None:  # type: ignore[type-arg]
    shards = share_tasks(tasks, count)
    assert sorted(id(task) for shard in shards for task in shard) == sorted(id(task) for task in tasks)
    assert len(shards) == min(count, len(tasks))
    work = [sum(p.input.size + p.output.size for t in shard for p in t.train) for shard in shards]
    largest = max((sum(p.input.size + 2 * p.output.size for p in t.train) for t in tasks), default=0)
    assert not work or max(work) - min(work) <= largest
