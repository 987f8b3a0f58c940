"""Generated pairs: RE-ARC's generators, and the cache that keeps what they made."""

import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from solver.tasks.task import Pair, StoredPairs, largest_side
from tests.solver.tiny_tasks import refusal
from tests.train_offline.problems.small_corpora import load, pair, save, task
from train_offline.problems import rearc
from train_offline.problems.pair_cache import CELLS, Corpus, PairCache
from train_offline.problems.rearc import generators, rearc_pairs, task_pairs
from train_offline.settings.config import RearcConfig

BESIDE_ITSELF = "a416b8f3"  # the output of this task of ARC-AGI-1 is its input, twice


def made(number: int) -> Pair:
    """A pair that no other number gives."""
    grid = np.array([[number // 1000 % 10, number // 100 % 10, number // 10 % 10, number % 10]], np.uint8)
    return Pair(grid, grid)


def test_generated_pairs_obey_the_rule_and_the_limits() -> None:
    config = RearcConfig(count=12)
    pairs = task_pairs(config, 10, 0, BESIDE_ITSELF)
    assert len(set(pairs)) == 12
    assert largest_side(pairs) <= 10
    assert all(np.array_equal(p.output, np.hstack([p.input, p.input])) for p in pairs)
    assert task_pairs(config, 10, 0, BESIDE_ITSELF) == pairs
    assert task_pairs(config, 10, 1, BESIDE_ITSELF) != pairs
    assert task_pairs(RearcConfig(count=4), 10, 0, BESIDE_ITSELF) == pairs[:4], "more pairs go on where fewer ended"
    harder = task_pairs(RearcConfig(count=12, difficulty=(0.9, 1.0)), None, 0, BESIDE_ITSELF)
    assert min(p.input.size for p in harder) > max(p.input.size for p in pairs)
    assert len(generators()) == 400


def test_an_example_that_fails_or_hangs_costs_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rearc, "SECONDS", 0.02)
    calls = []

    def generator(source: random.Random, low: float, high: float) -> dict[str, Any]:
        calls.append((low, high))
        match len(calls) % 5:
            case 0:
                raise RuntimeError("no room for the shape")
            case 1:
                while True:
                    pass
            case 2:
                return {"input": ((1, 11),), "output": ((1,),)}
        grid = ((len(calls) // 10 % 10, len(calls) % 10),)
        return {"input": grid, "output": grid}

    pairs = task_pairs(RearcConfig(count=6, difficulty=(0.1, 0.2)), 10, 0, "any", generator)
    assert [p.input.tolist() for p in pairs] == [[[n // 10, n % 10]] for n in (3, 4, 8, 9, 13, 14)]
    assert set(calls) == {(0.1, 0.2)}


def test_a_generator_without_small_pairs_is_given_up() -> None:
    large = ((0,) * 11,)
    calls = []

    def generator(source: random.Random, low: float, high: float) -> dict[str, Any]:
        calls.append(source.random())
        return {"input": large, "output": large}

    assert task_pairs(RearcConfig(count=50), 10, 0, "any", generator) == ()
    assert len(set(calls)) == len(calls) < 200


def interrupted(folder: Path, task_id: str) -> tuple[Pair, ...]:
    """Stands for a generator whose run is interrupted, once, at the third task."""
    if task_id == "c" and not (folder / "stopped").exists():
        (folder / "stopped").touch()
        raise KeyboardInterrupt
    with (folder / "log").open("a") as log:
        log.write(task_id)
    return () if task_id == "b" else tuple(made(ord(task_id) + number) for number in range(3))


def test_an_interrupted_run_goes_on_with_what_it_has(tmp_path: Path) -> None:
    cache = PairCache(tmp_path / "cache")
    make = partial(rearc._generate, partial(interrupted, tmp_path), list("abcd"), False)
    with pytest.raises(KeyboardInterrupt):
        cache.get({"corpus": "test"}, make)
    corpus = cache.get({"corpus": "test"}, make)
    assert {name: [p.input[0, 3] for p in pairs] for name, pairs in corpus.tasks.items()} == {
        "a": [7, 8, 9],
        "c": [9, 0, 1],
        "d": [0, 1, 2],
    }
    assert sorted((tmp_path / "log").read_text()) == list("abcd"), "each task was generated once"
    assert cache.get({"corpus": "test"}, lambda _: pytest.fail("made again")).about == corpus.about
    assert len(list((tmp_path / "cache").iterdir())) == 1, "nothing is left of the parts"


def test_a_changed_cache_is_noticed_and_a_half_written_one_is_made_again(tmp_path: Path) -> None:
    cache, key = PairCache(tmp_path), {"corpus": "test"}
    pairs = [("a", StoredPairs.of([made(number) for number in range(20)]))]
    corpus = cache.get(key, lambda _: pairs)
    (folder,) = tmp_path.iterdir()
    cells = bytearray((folder / CELLS).read_bytes())
    cells[3] ^= 1
    (folder / CELLS).write_bytes(cells)
    assert "delete the folder" in refusal(lambda: cache.get(key, lambda _: pairs))
    (folder / "manifest.json").unlink()  # as a killed run leaves it
    assert cache.get(key, lambda _: pairs).about == corpus.about
    assert cache.get(key | {"seed": 1}, lambda _: ()).tasks == {}
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refusal(lambda: PairCache(tmp_path / "file").get(key, lambda _: pairs))


def test_generated_pairs_join_their_task_but_not_a_held_out_one(tmp_path: Path) -> None:
    tasks = save(tmp_path / "1.json", {"a": task([pair(1), pair(2)], [pair(3)])})
    held = save(tmp_path / "2.json", {"h": task([pair(4)], [pair(5)])})
    made_pairs = StoredPairs.of([made(number) for number in range(8)])
    corpus = Corpus({"a": made_pairs, "h": made_pairs, "n": made_pairs}, {"digest": "0" * 64})
    corpora = load(tasks, f"{held}:demonstrations", "rearc", read_lists=lambda name: corpus)
    by_id = {t.id: t for t in corpora.tasks}
    assert {name: [len(p) for p, _ in t.further] for name, t in by_id.items()} == {"a": [8], "h": [], "n": []}
    assert len(by_id["n"].pairs) == 8
    assert corpora.report.emptied == [("rearc", "h")]
    assert corpora.manifest()["pairs_dropped"] == 8
    assert corpora.manifest()["corpora"][2]["stored"] == corpus.about


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rearc, "PACKAGE", "no_such_package")
    message = refusal(lambda: rearc_pairs(RearcConfig(), 10, 0, PairCache(tmp_path)))
    assert "pip install --no-deps reasoning-gym" in message
    shutil.rmtree(tmp_path)
