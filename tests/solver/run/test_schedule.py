"""Rounds on a simulated clock: the schedule is met, the budget is used and never passed, whatever things cost."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from solver.answers import votes as counted
from solver.answers.votes import Block, Candidate, Votes
from solver.run.schedule import AGREED_WEIGHT, LAP_START, ROUND_ENDS, ROUND_VOTES, SURE_VOTES, VOTE_SHARE, Rates
from tests.solver.run.simulated import World, simulate, square_task

TASKS = [square_task("a", 5), square_task("b", 9, tests=2), square_task("c", 20)]
TESTS = counted.tests_of(TASKS)
ENDS = [(0.0, 0.03), (0.03, 0.125), (0.125, 0.25), (0.25, 0.5), (0.5, 1.0)]
FIRST_LAP = len(ENDS)


def schedule(world: World) -> list[tuple[float, float]]:
    return [(plan.first, plan.last) for _, plan in world.plans]


def test_without_a_budget_there_is_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(agreeing=frozenset({("a", 0)}))
    simulate(world, TASKS, math.inf, monkeypatch)
    ((_, plan),) = world.plans
    assert (plan.first, plan.last, plan.votes, plan.patient) == (0.0, 1.0, 32, True)
    assert plan.fit.limit == math.inf
    assert world.weights == [[1.0, 1.0, 1.0]]
    assert {test: world.votes[0, test] for test in TESTS} == {
        test: ROUND_VOTES if test == ("a", 0) else 32 for test in TESTS
    }


def check(world: World, budget: float) -> None:
    """What holds for every run with a budget."""
    assert ROUND_ENDS == (0.03, 0.125, 0.25, 0.5, 1.0)
    assert schedule(world) == [*ENDS, *[(LAP_START, 1.0)] * (len(world.plans) - FIRST_LAP)][: len(world.plans)]
    for left, plan in world.plans:
        assert 0 < plan.fit.limit <= left
        assert plan.patient == (plan.last == 1.0)
        assert plan.votes == (32 if plan.patient else ROUND_VOTES)
    step = world.pace * world.tokens
    dearest = 21 * 21 * world.vote_seconds * max(world.drift)
    assert world.now <= budget + max(step, dearest)


@given(
    budget=st.floats(1, 40_000),
    step=st.floats(2e-3, 0.3),  # of the budget
    vote=st.floats(1e-8, 1e-5),
    drift=st.sampled_from([(1.0,), (3.0, 1.0), (1.0, 1.0, 1.0, 3.0), (3.0, 3.0, 3.0, 1.0), (1.0, 3.0, 0.3, 3.0, 0.3)]),
    agreeing=st.sets(st.sampled_from(TESTS)),
)
@example(budget=600.0, step=5e-3, vote=1e-5, drift=(1.0, 1.0, 1.0, 3.0), agreeing=set())
@settings(max_examples=200)
def test_the_schedule_is_met_and_the_budget_used_whatever_things_cost(budget, step, vote, drift, agreeing) -> None:  # type: ignore[no-untyped-def]
    with pytest.MonkeyPatch.context() as patch:
        world = World(step * budget / 1000, 1000, vote * budget, drift, frozenset(agreeing))
        simulate(world, TASKS, budget, patch)
        check(world, budget)
        assert len(world.plans) >= FIRST_LAP
        assert world.now >= 0.9 * budget
        assert sum(world.fitted) >= 0.25 * budget


def test_votes_between_rounds_take_their_share_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(vote_seconds=1.0)  # minutes each
    simulate(world, TASKS, 3600, monkeypatch)
    check(world, 3600)
    for (left, _), (after, _), fitted in zip(world.plans[: FIRST_LAP - 1], world.plans[1:], world.fitted, strict=False):
        assert left - fitted - after <= VOTE_SHARE * (left - fitted) + 21 * 21 / 16 + 1e-6


def test_the_last_votes_fit_into_what_fitting_left_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(vote_seconds=0.01)
    simulate(world, TASKS, 3600, monkeypatch)
    assert {world.votes[FIRST_LAP - 1, test] for test in TESTS} == {32}
    assert 0.9 * 3600 <= world.now <= 3600


def test_votes_beyond_the_sure_ones_take_no_more_than_fitting_does_not_get(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(vote_seconds=0.002, variants=2000)  # three quarters of an hour for all votes
    simulate(world, TASKS, 3600, monkeypatch)
    assert 0.7 * 3600 <= sum(world.fitted[:FIRST_LAP]) <= 0.9 * 3600
    assert min(world.votes[FIRST_LAP - 1, test] for test in TESTS) > SURE_VOTES


def test_fitting_keeps_most_of_the_time_where_votes_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(vote_seconds=1e-6)
    simulate(world, TASKS, 3600, monkeypatch)
    assert sum(world.fitted[:FIRST_LAP]) > 0.9 * 3600


def test_a_further_lap_uses_time_that_votes_left(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(vote_seconds=0.05, drift=(*[3.0] * (FIRST_LAP - 1), 0.3))
    simulate(world, TASKS, 3600, monkeypatch)
    check(world, 3600)
    assert schedule(world)[FIRST_LAP:] == [(LAP_START, 1.0)] * len(world.plans[FIRST_LAP:])
    assert 1 <= len(world.plans[FIRST_LAP:]) <= 4
    assert world.fitted[FIRST_LAP] > 0
    assert all(left >= 0.08 * 3600 for left, _ in world.plans)  # less would not be worth it


def test_agreed_tests_get_few_votes_and_seldom_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(agreeing=frozenset({("a", 0), ("b", 0)}))
    simulate(world, TASKS, 600, monkeypatch)
    rounds = range(len(world.plans))
    assert all(world.votes[number, test] == ROUND_VOTES for number in rounds for test in (("a", 0), ("b", 0)))
    assert all(world.votes[number, ("b", 1)] == (32 if number >= FIRST_LAP - 1 else ROUND_VOTES) for number in rounds)
    assert world.weights[0] == [1.0, 1.0, 1.0]  # nothing is voted yet
    assert all(weights == [1.0, 1.0, 1.0] for weights in world.weights[:FIRST_LAP])  # it may be wrong as yet


def test_agreed_tasks_are_visited_less_once_the_schedule_is_through(monkeypatch: pytest.MonkeyPatch) -> None:
    agreeing = frozenset({("a", 0), ("b", 0)})
    world = World(vote_seconds=0.05, drift=(*[3.0] * (FIRST_LAP - 1), 0.3), agreeing=agreeing)
    simulate(world, TASKS, 3600, monkeypatch)
    assert len(world.weights) > FIRST_LAP
    assert all(weights == [AGREED_WEIGHT, 1.0, 1.0] for weights in world.weights[FIRST_LAP:])  # of b one is open


def test_tasks_that_are_too_dear_are_left_out_and_the_smallest_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [square_task(name, side) for name, side in (("dear", 29), ("cheap", 3), ("middle", 13))]
    kept = {}
    for budget in (1.0, 30.0, 120.0, 10_000.0):
        with monkeypatch.context() as patch:
            world = World(pace=1e-4, tokens=10_000, vote_seconds=1e-5)
            outcome = simulate(world, tasks, budget, patch, least_steps=400)
            kept[budget] = [weight > 0 for weight in world.weights[-1]]
            voted = {task for (_, (task, _)), votes in world.votes.items() if votes}
            assert voted == {task.id for task, keeps in zip(tasks, kept[budget], strict=True) if keeps}
            chosen = sum(kept[budget])
            note = f"there was time to fit only the cheapest {chosen} of 3 tasks"
            assert outcome.notes == ([note] if chosen < 3 else [])
    assert kept[1.0] == [False, True, False]  # one at the least
    assert kept[120.0] == [False, True, True]
    assert kept[10_000.0] == [True, True, True]
    numbers = [sum(keeps) for keeps in kept.values()]
    assert numbers == sorted(numbers)


def test_the_choice_follows_the_measured_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guess before the first step is three times too dear: the second round knows better."""
    tasks = [square_task("dear", 13), square_task("cheap", 3)]
    world = World(pace=1e-4, tokens=10_000, vote_seconds=1e-5)
    simulate(world, tasks, 60, monkeypatch, least_steps=400)
    assert world.weights[0] == [0.0, 1.0]
    assert world.weights[1] == [1.0, 1.0]


def test_tasks_left_out_on_a_busy_machine_join_when_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [square_task("dear", 13), square_task("cheap", 3)]
    world = World(pace=1e-5, tokens=10_000, vote_seconds=1e-5, busy=(10.0, 100.0))
    outcome = simulate(world, tasks, 60, monkeypatch, least_steps=400)
    left_out, *later = world.weights[1:]
    assert left_out == [0.0, 1.0]
    assert later[-1] == [1.0, 1.0]
    assert sorted(later) == later, "what was begun is gone on with"
    assert outcome.notes == []


def test_what_is_being_fitted_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is busy from the second round on, whose choice was the last that may leave tasks out."""
    tasks = [square_task("dear", 13), square_task("cheap", 3)]
    world = World(pace=1e-4, tokens=1000, vote_seconds=1e-5, busy=(math.inf, 100.0), free=3.0)
    simulate(world, tasks, 60, monkeypatch, least_steps=400)
    assert world.weights[1:] == [[1.0, 1.0]] * (len(world.weights) - 1)


def voted_before(rounds: int) -> Votes:
    votes, one = Votes(TASKS), np.zeros((1, 1), np.uint8)
    for number in range(rounds):
        for test in TESTS:
            votes.add(Block(test, number, [Candidate(one, 3, 0.5)]))
    return votes


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [(0, ENDS), (1, ENDS[1:]), (2, ENDS[2:]), (3, ENDS[3:]), (4, ENDS[4:]), (5, ENDS[4:]), (9, ENDS[4:])],
)
def test_resumed_runs_begin_later_in_the_schedule(
    rounds: int, expected: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, votes = World(), voted_before(rounds)
    simulate(world, TASKS, 600, monkeypatch, votes=votes)
    assert schedule(world)[: len(expected)] == expected
    assert 0.9 * 600 <= world.now <= 600 * 1.001
    assert votes.rounds(TESTS) == rounds + len(world.plans)


def test_a_resumed_run_leaves_out_what_is_too_dear_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(pace=1.0, vote_seconds=1e-5)
    simulate(world, TASKS, 60, monkeypatch, votes=voted_before(2), least_steps=400)
    assert world.weights[0] == [1.0, 0.0, 0.0]


def test_rates_are_means_and_guessed_by_cells_where_nothing_was_measured() -> None:
    rates = Rates()
    assert rates.vote((4, 4)) is None
    rates.add((4, 4), 2, 1.0)
    rates.add((4, 4), 2, 3.0)
    assert rates.vote((4, 4)) == 1.0
    assert rates.vote((8, 8)) == 4.0
    rates.add((8, 8), 1, 10.0)
    assert rates.vote((8, 8)) == 10.0
    assert rates.vote((4, 8)) == pytest.approx(14 / (4 * 16 + 64) * 32)


def test_time_that_ends_early_leaves_no_task_without_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    """240 tasks in 11h30m, as on Kaggle: the last ones are not left for the end."""
    tasks = [square_task(f"{number:03}", 3 + number % 28) for number in range(240)]
    world, budget = World(pace=2e-4, tokens=100_000, vote_seconds=1e-4), 41_400.0
    simulate(world, tasks, budget, monkeypatch)
    voted = [{test for number, test in world.votes if number == made} for made in range(FIRST_LAP)]
    assert voted[0] == set(counted.tests_of(tasks)), "every task, in the first round"
    assert budget - world.plans[1][0] < 0.15 * budget, "which is over soon"
    assert {votes for (number, _), votes in world.votes.items() if number == 0} == {ROUND_VOTES}
