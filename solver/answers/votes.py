"""The votes of a run, counted over its rounds into ranked candidates for every test input.

Votes of a later round weigh more, because its model has been fitted for longer. Earlier rounds still decide where the
latest is undecided or ran out of time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from solver.tasks.task import Task

ROUND_GAIN = 2.0  # weight of a vote, relative to one of the previous round
MOST_ROUNDS = 256  # later rounds count as the last of these, so that weights stay finite
MOST_VOTES = 2**48  # per candidate: what is more is not counted, so that sums stay within the 64 bits of a JSON number
# The votes for a test input agree when the latest round has at least AGREED_VOTES and one candidate has AGREED_SHARE.
AGREED_VOTES = 8
AGREED_SHARE = 0.9

CANDIDATE_KEYS = ("grid", "votes", "halting", "weight")  # of a candidate in a JSON file

Test = tuple[str, int]
"""A test input: the id of its task and its index there."""


@dataclass
class Candidate:
    """A predicted grid and its votes."""

    grid: np.ndarray  # (height, width), in the task's own symmetry and colours
    votes: int
    halting: float  # mean halting probability of its votes
    weight: float = 0.0  # the sum of the weights of its votes; candidates are ranked by it

    def add(self, votes: int, halting: float, weight: float) -> None:
        """Add votes, with their mean halting probability and total weight. The sum is at most MOST_VOTES."""
        self.halting += (halting - self.halting) * votes / (self.votes + votes)
        self.votes = min(self.votes + votes, MOST_VOTES)
        self.weight += weight


def ranked(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Best first: by weight, then votes. Halting only breaks ties, because on ARC it does not predict success."""
    return sorted(candidates, key=lambda c: (-c.weight, -c.votes, -c.halting))


def grid_key(grid: np.ndarray) -> bytes:
    """Shape and cells: equal for equal grids only."""
    return bytes(grid.shape) + grid.tobytes()


def to_item(candidate: Candidate) -> dict[str, object]:
    """A candidate as a JSON object."""
    return {key: getattr(candidate, key) for key in CANDIDATE_KEYS} | {"grid": candidate.grid.tolist()}


class Block(NamedTuple):
    """The counted votes of one round for one test input."""

    test: Test
    round: int
    candidates: Sequence[Candidate]


@dataclass
class _Count:
    """The votes for one test input."""

    candidates: dict[bytes, Candidate] = field(default_factory=dict)  # by grid_key
    round: int = -1  # the latest round with a vote
    of_round: dict[bytes, int] = field(default_factory=dict)  # votes of that round


class Votes:
    """Counts votes for every test input. Memory grows with distinct candidates, not with votes."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._counts = {test: _Count() for test in tests_of(tasks)}
        self.total = 0

    def add(self, block: Block) -> None:
        """Count a block of votes. Blocks for other tasks are ignored."""
        count = self._counts.get(block.test)
        if count is None:
            return
        if block.round > count.round:
            count.round, count.of_round = block.round, {}
        for new in block.candidates:
            key = grid_key(new.grid)
            weight = new.votes * ROUND_GAIN**block.round
            if known := count.candidates.get(key):
                known.add(new.votes, new.halting, weight)
            else:
                count.candidates[key] = replace(new, weight=weight)
            if block.round == count.round:
                count.of_round[key] = count.of_round.get(key, 0) + new.votes
            self.total += new.votes

    def agreed(self, test: Test) -> bool:
        """Whether the votes of the latest round agree."""
        votes = self._counts[test].of_round.values()
        return sum(votes) >= AGREED_VOTES and max(votes) >= AGREED_SHARE * sum(votes)

    @property
    def agreement(self) -> tuple[int, int]:
        """The number of test inputs whose votes agree, and the number of all."""
        return sum(map(self.agreed, self._counts)), len(self._counts)

    def rounds(self, tests: Iterable[Test]) -> int:
        """The number of the next round for some tests: one more than their latest with votes."""
        return min(MOST_ROUNDS - 1, 1 + max((self._counts[test].round for test in tests), default=-1))

    def ranked(self) -> dict[str, list[list[Candidate]]]:
        """Task id -> the candidates for each of its test inputs, best first."""
        result: dict[str, list[list[Candidate]]] = {}
        for (task_id, _), count in self._counts.items():  # in the order of tests_of
            latest = ROUND_GAIN ** max(0, count.round)  # one vote of the latest round weighs 1
            candidates = (replace(c, weight=min(c.weight / latest, MOST_VOTES)) for c in count.candidates.values())
            result.setdefault(task_id, []).append(ranked(candidates))
        return result


def tests_of(tasks: Iterable[Task]) -> list[Test]:
    """All test inputs, in order."""
    return [(task.id, index) for task in tasks for index in range(len(task.test))]


def agreed_tasks(votes: Votes, tasks: Sequence[Task]) -> Mapping[str, bool]:
    """Task id -> whether the votes agree for all of its test inputs."""
    return {task.id: all(votes.agreed((task.id, index)) for index in range(len(task.test))) for task in tasks}
