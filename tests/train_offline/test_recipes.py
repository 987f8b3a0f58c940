"""mini-ARC and the recipes that are compared on it: the list, the cost, and a comparison that can be interrupted."""

from dataclasses import replace
from pathlib import Path

import pytest

from solver.errors import InputError
from solver.fit import Fitting
from solver.presets import tiny
from solver.sources import load_tasks
from train_offline.laboratory import mini_arc, recipes
from train_offline.laboratory.mini_arc import Result
from train_offline.laboratory.recipes import ARMS, BASE, PRETRAINED, TABLE, RecipesOptions, command, recipe, table

RESULT = Result(10, 2.0, 0.5, 0.2, 0.1, 0.2, 0.3, 0.7, 0.8)


def test_the_list_is_every_task_up_to_5x5() -> None:
    tasks = mini_arc.mini_arc()
    assert len(tasks) == len({task.id for task in tasks}) == 31
    assert sum(len(task.train) for task in tasks) == 125
    assert sum(len(task.test) for task in tasks) == 38
    assert all(pair.output is not None and max(pair.output.shape) <= 5 for task in tasks for pair in task.test)


def test_another_list_does_not_go_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini_arc, "load_tasks", lambda source: load_tasks(source)[:30])
    with pytest.raises(InputError, match=r"mini-ARC: expected the tasks of digest .*, got 30 tasks"):
        mini_arc.mini_arc()


def test_the_budget_decides_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini_arc, "gemm_gflops", lambda *given, **more: 100.0)
    monkeypatch.setattr(mini_arc, "_pace", lambda *given: 0.5)  # seconds a step
    monkeypatch.setattr(mini_arc, "HELD_OUT_TOKENS", 100)
    tasks = mini_arc.mini_arc()[:2]
    config = recipe(BASE)
    config = replace(config, predict=replace(config.predict, supervision_steps=1))
    together = mini_arc.measure(config, tasks, 3e-4, seed=0)  # 3 s at 100 GFLOP/s
    assert together.steps == 6
    apart = mini_arc.measure(replace(config, fit=replace(config.fit, together=1)), tasks, 3e-4, seed=0)
    assert apart.steps == 2 * 3
    for result in (together, apart):
        assert 0 <= result.canonical <= 1
        assert 0 <= result.first <= result.both <= 1
        assert 0 < result.held_out_cells < 1
        assert result.held_out_loss > 0


def test_the_pace_is_that_of_the_steps_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, config = mini_arc.mini_arc()[:1], tiny()
    clock = iter([100.0] * mini_arc.WARM_STEPS + [100.0 + n for n in range(1, 99)])
    monkeypatch.setattr(mini_arc.time, "process_time", lambda: next(clock))
    monkeypatch.setattr(Fitting, "_step", lambda self, *given: setattr(self, "steps", self.steps + 1) or True)
    start = mini_arc.fresh_knowledge(config.model, 0, mini_arc.torch.device("cpu"))
    assert mini_arc._pace(config, tasks, 0, start) == pytest.approx(1.0)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm not in (BASE, PRETRAINED)])
def test_every_arm_changes_the_recipe(arm: str) -> None:
    assert recipe(arm) != recipe(BASE)


def test_tiny_is_the_combination_that_won() -> None:
    base = recipe(BASE)
    rows = {"row_optimizer": "sign_sgd", "row_lr": 1e-2, "row_weight_decay": 0.1}
    learner = replace(base.fit.learner, supervision_steps=2, trunk_optimizer="muon", **rows)  # type: ignore[arg-type]
    model = replace(base.model, latent_updates=1)
    assert tiny() == recipe("tiny") == replace(base, model=model, fit=replace(base.fit, learner=learner))


def test_a_comparison_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, float]] = []

    def measure(config: object, tasks: object, budget: float, seed: int, start: object) -> Result:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((seed, budget))
        return replace(RESULT, both=0.1 * seed)

    monkeypatch.setattr(recipes, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        command(RecipesOptions(tmp_path, (BASE, "n-1"), seeds=(0, 1), budget=0.5))
    made.clear()
    assert command(RecipesOptions(tmp_path, (BASE, "n-1"), seeds=(0, 1), budget=0.5)) == 0
    assert made == [(1, 0.5)]
    lines = (tmp_path / TABLE).read_text().splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| base | 5.0% ± 5.0% | 20.0% ± 0.0% |")
    assert lines[2].endswith("| 2 |")
    with pytest.raises(InputError, match=r"base-0.json: expected a run of 0.25 GEMM-PFLOP"):
        command(RecipesOptions(tmp_path, (BASE,), seeds=(0,), budget=0.25))


def test_arms_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--arms: expected some of base, .*, got 'magic'"):
        command(RecipesOptions(tmp_path, ("magic",)))
    with pytest.raises(InputError, match="--arms pretrained: expected --weights"):
        command(RecipesOptions(tmp_path, (PRETRAINED,)))


def test_the_table_has_means_and_spreads() -> None:
    rows = [{"arm": "a", "seed": s, **vars(replace(RESULT, held_out_loss=v))} for s, v in ((0, 0.5), (1, 0.7))]
    assert "| 0.600 ± 0.100 |" in table(rows)
