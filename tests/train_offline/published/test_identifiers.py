"""Names of rows that are rebuilt are those of the published build script; checkpoints of the hub are found."""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
import torch

from solver.common.checks import InputError
from solver.model.weights import load_knowledge
from solver.tasks.task import Pair, Task
from tests.solver.samples import MIRROR, TALL, as_json, grid
from tests.solver.tiny_tasks import save
from tests.train_offline.published.published_samples import GOLDEN, published_state
from train_offline.published import identifiers
from train_offline.published.convert import IDENTIFIERS, import_command
from train_offline.published.hub import fetched
from train_offline.published.identifiers import names_of, rebuild_identifiers

PLAIN = Task("plain", (Pair(grid("11", "11"), grid("11", "11")),), (Pair(grid("2"), grid("2")),))  # few variants
SUBSETS = {
    "training": [MIRROR, TALL, PLAIN],
    "evaluation": [replace(TALL, id="high"), replace(MIRROR, id="glass")],
    "concept": [replace(TALL, id="c1"), replace(TALL, id="c2")],
}
RECORDED = "ef221546147deb5fa569a432f0d01eb7cf819bd4acd891f3f918af525468ecee"
"""sha256 of the names that the published build script gave these tasks, with 100 variants of each."""


@pytest.fixture
def published_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "combined"
    for subset, tasks in SUBSETS.items():
        save(folder / f"arc-agi_{subset}_challenges.json", {task.id: as_json(task) for task in tasks})
        solutions = {task.id: [pair.output.tolist() for pair in task.test if pair.output is not None] for task in tasks}
        save(folder / f"arc-agi_{subset}_solutions.json", solutions)
    monkeypatch.setattr(identifiers, "RECIPES", {"arc1": (tuple(SUBSETS), RECORDED)})
    monkeypatch.setattr(identifiers, "VARIANTS", 100)
    return folder


def test_names_are_those_of_the_published_build_script(published_data: Path) -> None:
    names, tasks = rebuild_identifiers(published_data, 679)
    assert hashlib.sha256(orjson.dumps(names)).hexdigest() == RECORDED
    plain = ["<blank>", "mirror", "tall", "plain", "high", "glass", "c2", "c1"]
    assert [name for name in names if "|||" not in name] == plain
    assert len(set(names)) == len(names)
    assert sum(name.startswith("plain|||") for name in names) == 71, "72 colours of one, and no symmetry shows"
    assert sorted(task.id for task in tasks) == sorted(plain[1:])
    with pytest.raises(InputError, match=r"expected task files for 680 rows, got 679 \(arc1\): give --identifiers"):
        rebuild_identifiers(published_data, 680)


def test_other_task_files_are_refused(published_data: Path) -> None:
    challenges = published_data / "arc-agi_concept_challenges.json"
    challenges.write_text(challenges.read_text().replace("c2", "c3"))
    solutions = published_data / "arc-agi_concept_solutions.json"
    solutions.write_text(solutions.read_text().replace("c2", "c3"))
    with pytest.raises(InputError, match="expected the published task files"):
        rebuild_identifiers(published_data, 679)


def test_a_checkpoint_without_names_is_imported(
    published_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = published_state("trm_att", "")
    state["puzzle_emb.weights"] = torch.zeros(679, 64)
    (tmp_path / "bare").mkdir()
    torch.save(state, tmp_path / "bare" / "step_1")
    settings = {"config": GOLDEN / "trm_att.json"}
    with pytest.raises(InputError, match=r"expected --identifiers, identifiers\.json beside the checkpoint, or"):
        import_command(tmp_path / "bare" / "step_1", out=tmp_path / "ours", **settings)
    settings = {"config": save(tmp_path / "config.json", json.dumps({"num_heads": 4, "seq_len": 49}))}
    import_command(tmp_path / "bare" / "step_1", out=tmp_path / "ours", published_data=published_data, **settings)
    assert "678 names of 7 tasks from --published-data" in capsys.readouterr().out
    rows = load_knowledge(tmp_path / "ours", torch.device("cpu")).rows
    assert rows["mirror", MIRROR.digest] == 1
    assert [*rows] == [("<blank>", ""), *[(name, digest) for name, digest in rows if digest]]
    # beside the checkpoint, the list is found
    save(tmp_path / "bare" / IDENTIFIERS, json.dumps(names_of([], 0) + [f"t{n}" for n in range(678)]))
    import_command(tmp_path / "bare" / "step_1", out=tmp_path / "other", **settings)
    assert len(load_knowledge(tmp_path / "other", torch.device("cpu")).rows) == 679


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local folder in the layout of the hub's cache, and no network."""
    folder = tmp_path / "hub" / "models--lab--trm"
    save(folder / "refs" / "main", "abc")
    save(folder / "snapshots" / "abc" / "arc1" / "step_9", "weights")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


def test_a_file_of_the_hub_is_found(hub: Path) -> None:
    assert fetched(Path("hub:lab/trm/arc1/step_9")).read_text() == "weights"
    for word in ("hub:lab/trm/arc1/step_8", "hub:lab/other/step_9", "hub:lab/trm"):
        with pytest.raises(InputError, match=f"{word}: expected a file that the hub has and a network, got: "):
            fetched(Path(word))


def test_words_for_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched(Path("step_1")) == Path("step_1")
    with pytest.raises(InputError, match="expected hub:OWNER/NAME or hub:OWNER/NAME/FILE, got 'hub:trm'"):
        fetched(Path("hub:trm"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"expected the package huggingface_hub, got none: pip install arc-trm\[hub\]"):
        fetched(Path("hub:lab/trm"))
