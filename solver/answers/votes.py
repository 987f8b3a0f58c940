"""The votes of a run, counted over its rounds: candidates of every test input. Imports no torch.

A later round's model has been fitted for longer, so its votes count more; earlier ones still decide where it is
undecided or where the clock left it no time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from solver.tasks.task import Task

ROUND_GAIN = 2.0  # how much more a vote counts than one of the round before
MOST_ROUNDS = 256  # later ones count as the last of these: weights stay numbers
AGREED_VOTES = 8  # of the latest round, at the least, before …
AGREED_SHARE = 0.9  # … so large a share for one candidate means that there is nothing left to vote on

CANDIDATE_KEYS = ("grid", "votes", "halting", "weight")  # of a candidate in a file

Test = tuple[str, int]
"""A test input: the id of its task and its place in it."""


@dataclass
class Candidate:
    """A grid that was predicted, and how often."""

    grid: np.ndarray  # (height, width), in the task's own symmetry and colours
    votes: int
    halting: float  # mean halting probability of its votes
    weight: float = 0.0  # what it is ranked by: the sum of what its votes count

    def add(self, votes: int, halting: float, weight: float) -> None:
        """Count more votes, with their mean halting probability and what they count together."""
        self.votes += votes
        self.halting += (halting - self.halting) * votes / self.votes
        self.weight += weight


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Best first: by weight, then by votes; halting probability breaks ties only, as on ARC it does not tell right."""
    return sorted(candidates, key=lambda c: (-c.weight, -c.votes, -c.halting))


def to_item(candidate: Candidate) -> dict[str, object]:
    """A candidate as files hold it."""
    return {key: getattr(candidate, key) for key in CANDIDATE_KEYS} | {"grid": candidate.grid.tolist()}


class Block(NamedTuple):
    """Votes of one round for one test input, counted."""

    test: Test
    round: int
    candidates: Sequence[Candidate]


@dataclass
class _Count:
    """What is known of one test input."""

    candidates: dict[bytes, Candidate] = field(default_factory=dict)  # by shape and cells
    round: int = -1  # the latest with a vote
    of_round: dict[bytes, int] = field(default_factory=dict)  # its votes


class Votes:
    """Candidates of every test input; memory grows with distinct candidates, not with votes."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._counts = {(task.id, index): _Count() for task in tasks for index in range(len(task.test))}
        self.total = 0

    def add(self, block: Block) -> None:
        """Count a block. One for a test input that is not of these tasks is left out."""
        count = self._counts.get(block.test)
        if count is None:
            return
        if block.round > count.round:
            count.round, count.of_round = block.round, {}
        for new in block.candidates:
            key = bytes(new.grid.shape) + new.grid.tobytes()
            weight = new.votes * ROUND_GAIN**block.round
            known = count.candidates.get(key)
            if known is None:
                count.candidates[key] = Candidate(new.grid, new.votes, new.halting, weight)
            else:
                known.add(new.votes, new.halting, weight)
            if block.round == count.round:
                count.of_round[key] = count.of_round.get(key, 0) + new.votes
            self.total += new.votes

    def agreed(self, test: Test) -> bool:
        """Whether the votes of the latest round are nearly unanimous."""
        votes = self._counts[test].of_round.values()
        return sum(votes) >= AGREED_VOTES and max(votes) >= AGREED_SHARE * sum(votes)

    @property
    def agreement(self) -> tuple[int, int]:
        """On how many test inputs the votes agree, and how many there are."""
        return sum(map(self.agreed, self._counts)), len(self._counts)

    def rounds(self, tests: Iterable[Test]) -> int:
        """How many rounds have votes for some tests: the number of their next one."""
        return min(MOST_ROUNDS - 1, 1 + max((self._counts[test].round for test in tests), default=-1))

    def ranked(self) -> dict[str, list[list[Candidate]]]:
        """Task id -> the candidates of each of its test inputs, best first."""
        result: dict[str, list[list[Candidate]]] = {}
        for (task_id, _), count in self._counts.items():  # in order of test inputs, as they were put in
            latest = ROUND_GAIN ** max(0, count.round)  # one vote of the latest round weighs 1
            candidates = (replace(c, weight=c.weight / latest) for c in count.candidates.values())
            result.setdefault(task_id, []).append(ranked(candidates))
        return result


def tests_of(tasks: Sequence[Task]) -> list[Test]:
    """All test inputs, in order."""
    return [(task.id, index) for task in tasks for index in range(len(task.test))]


def agreed_tasks(votes: Votes, tasks: Sequence[Task]) -> Mapping[str, bool]:
    """Task id -> whether all of its test inputs have nearly unanimous votes."""
    return {task.id: all(votes.agreed((task.id, index)) for index in range(len(task.test))) for task in tasks}
