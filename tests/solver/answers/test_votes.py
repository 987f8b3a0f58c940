"""Votes over the rounds: later rounds count more, agreement, memory, blocks that are not of these tasks."""

import pytest

from solver.answers import votes as counted
from solver.answers.votes import AGREED_VOTES, ROUND_GAIN, Block, Candidate, Votes, agreed_tasks
from tests.solver.samples import MIRROR, TALL, TASKS, grid

A, B, C = grid("12", "34"), grid("5"), grid("66")


def block(number: int, *votes: int, test: tuple[str, int] = ("tall", 0), halting: float = 0.5) -> Block:
    """Votes of a round for the grids A, B and C."""
    return Block(test, number, [Candidate(g, v, halting) for g, v in zip((A, B, C), votes, strict=False) if v])


def best(votes: Votes, test: tuple[str, int] = ("tall", 0)) -> list[tuple[list[list[int]], int]]:
    return [(c.grid.tolist(), c.votes) for c in votes.ranked()[test[0]][test[1]]]


def test_a_vote_counts_more_than_one_of_the_round_before() -> None:
    votes = Votes(TASKS)
    votes.add(block(0, 5, 0))
    votes.add(block(1, 0, 3))
    assert best(votes) == [(B.tolist(), 3), (A.tolist(), 5)]  # 3 * 2 against 5
    votes.add(block(0, 2, 0))
    assert best(votes) == [(A.tolist(), 7), (B.tolist(), 3)]
    weights = [c.weight for c in votes.ranked()["tall"][0]]
    assert weights == [7 / ROUND_GAIN, 3]  # a vote of the latest round weighs 1


def test_earlier_votes_decide_where_later_ones_are_undecided() -> None:
    votes = Votes(TASKS)
    votes.add(block(0, 1, 2, 1))
    votes.add(block(3, 4, 4, 4))
    assert best(votes)[0] == (B.tolist(), 6)


def test_the_order_of_blocks_does_not_matter() -> None:
    blocks = [block(0, 3, 1, halting=0.2), block(1, 1, 6, halting=0.9), block(2, 4, 4, 1), block(2, 0, 5)]
    results = []
    for order in (blocks, blocks[::-1], [blocks[i] for i in (2, 0, 3, 1)]):
        votes = Votes(TASKS)
        for each in order:
            votes.add(each)
        results.append((best(votes), votes.agreed(("tall", 0)), votes.rounds([("tall", 0)]), votes.total))
        halting = {c.grid.tobytes(): c.halting for c in votes.ranked()["tall"][0]}
        assert halting[A.tobytes()] == pytest.approx((3 * 0.2 + 1 * 0.9 + 4 * 0.5) / 8)
    assert results[0] == results[1] == results[2]


def test_grids_of_the_same_cells_but_another_shape_are_other_grids() -> None:
    votes = Votes(TASKS)
    tall, wide = grid("1", "2"), grid("12")
    votes.add(Block(("tall", 0), 0, [Candidate(tall, 1, 0.5), Candidate(wide, 2, 0.5)]))
    assert best(votes) == [([[1, 2]], 2), ([[1], [2]], 1)]


def test_memory_grows_with_distinct_candidates_only() -> None:
    votes = Votes(TASKS)
    for number in range(10_000):
        votes.add(block(number % 4, *(1 if number % 3 == which else 0 for which in range(3))))
    assert votes.total == 10_000
    candidates = votes.ranked()["tall"][0]
    assert len(candidates) == 3
    assert sum(c.votes for c in candidates) == 10_000
    assert len(votes._counts["tall", 0].of_round) == 3


def test_counted_blocks_are_not_changed_by_later_ones() -> None:
    votes, first = Votes(TASKS), block(0, 5)
    votes.add(first)
    votes.add(block(0, 5, halting=1.0))
    assert (first.candidates[0].votes, first.candidates[0].halting) == (5, 0.5)


def test_votes_for_tests_that_are_not_of_these_tasks_are_left_out() -> None:
    votes = Votes(TASKS)
    votes.add(block(0, 9, test=("another", 0)))
    votes.add(block(0, 9, test=("tall", 1)))
    assert votes.total == 0
    assert votes.ranked() == {"mirror": [[], []], "tall": [[]]}


@pytest.mark.parametrize(
    ("given", "agreed"),
    [
        ([(0, 8, 0)], True),
        ([(0, 7, 0)], False),  # unanimous, but too few
        ([(0, 9, 1)], True),
        ([(0, 8, 1)], False),
        ([(0, 4, 0), (0, 4, 0)], True),  # one round in two blocks
        ([(0, 20, 0), (1, 4, 4)], False),  # the latest round decides
        ([(0, 5, 5), (1, 8, 0)], True),
        ([(1, 8, 0), (0, 5, 5)], True),  # also when an earlier one is read later
        ([], False),
    ],
)
def test_votes_agree_when_those_of_the_latest_round_nearly_do(given: list[tuple[int, int, int]], agreed: bool) -> None:
    assert AGREED_VOTES == 8
    votes = Votes(TASKS)
    for each in given:
        votes.add(block(*each))
    assert votes.agreed(("tall", 0)) == agreed
    assert agreed_tasks(votes, TASKS) == {"mirror": False, "tall": agreed}


def test_a_task_agrees_when_all_of_its_tests_do() -> None:
    votes = Votes(TASKS)
    votes.add(block(0, 8, test=("mirror", 1)))
    assert not agreed_tasks(votes, TASKS)["mirror"]
    votes.add(block(0, 8, test=("mirror", 0)))
    assert agreed_tasks(votes, TASKS)["mirror"]


def test_the_next_round_follows_the_latest_of_some_tests() -> None:
    votes = Votes(TASKS)
    assert votes.rounds(counted.tests_of(TASKS)) == 0
    votes.add(block(2, 1, test=("mirror", 1)))
    assert votes.rounds(counted.tests_of(TASKS)) == votes.rounds(counted.tests_of([MIRROR])) == 3
    assert votes.rounds(counted.tests_of([TALL])) == 0


def test_results_come_in_the_order_of_tasks_and_tests() -> None:
    assert counted.tests_of(TASKS) == [("mirror", 0), ("mirror", 1), ("tall", 0)]
    votes = Votes([TALL, MIRROR])
    votes.add(block(0, 1, test=("mirror", 1)))
    votes.add(block(0, 0, 1, test=("tall", 0)))
    ranked = votes.ranked()
    assert list(ranked) == ["tall", "mirror"]
    assert [len(of_test) for of_test in ranked["mirror"]] == [0, 1]
    assert ranked["mirror"][1][0].grid.tolist() == A.tolist()


def test_equal_weights_are_ranked_by_votes_and_then_by_halting() -> None:
    votes = Votes(TASKS)
    votes.add(block(0, 4))
    votes.add(block(1, 0, 2))
    assert best(votes)[0] == (A.tolist(), 4)  # both weigh 4
    votes = Votes(TASKS)
    votes.add(block(0, 3, 0, halting=0.1))
    votes.add(block(0, 0, 3, halting=0.2))
    assert best(votes)[0] == (B.tolist(), 3)
