"""The standing of a task in a run: solved, or how far off, and whether its votes agree. Has the page's thresholds."""

from collections.abc import Sequence
from typing import NamedTuple

from solver.answers.run_json import Run
from solver.answers.votes import AGREED_SHARE, AGREED_VOTES
from solver.report.drawing import Cells, changed_cells, size_of

# In a near miss at most NEAR_MISS_SHARE of the cells are wrong, or NEAR_MISS_CELLS if there are at least LEAST_CELLS.
NEAR_MISS_SHARE = 0.1
NEAR_MISS_CELLS, LEAST_CELLS = 1, 4
SPLIT_SHARE = 0.5  # votes are split if the top candidate has less

MARKS = {"right": "✓", "near": "≈", "partly": "◐", "wrong": "✗", "unknown": "?"}
# Status -> key of MARKS.
STATUSES = dict(zip(("solved", "near miss", "partly solved", "wrong", "no truth"), MARKS, strict=True))

THRESHOLDS = (
    f"Near miss: for every output that is missed, the better attempt has the right size and at most "
    f"{NEAR_MISS_SHARE:.0%} of its cells wrong, or {NEAR_MISS_CELLS} of {LEAST_CELLS} or more. Cells wrong and outputs "
    f"solved count the better of the two attempts. Unanimous: for every test, the top candidate has at least "
    f"{AGREED_SHARE:.0%} of {AGREED_VOTES} votes or more. Split: for some test, it has less than {SPLIT_SHARE:.0%}. "
    "Top share: its share of the votes, for the test where it is lowest. In a picture of a difference, right cells are "
    "faded and wrong cells are framed, with the true colour inside."
)


class Miss(NamedTuple):
    """How far the better attempt at a test output is off."""

    wrong: int | None  # cells; None if neither attempt has the right size
    cells: int  # of the true output

    @property
    def near(self) -> bool:
        """Whether it is a near miss."""
        allowed = NEAR_MISS_CELLS if self.cells >= LEAST_CELLS else 0
        return self.wrong is not None and 0 < self.wrong <= max(allowed, NEAR_MISS_SHARE * self.cells)


class Standing(NamedTuple):
    """The standing of a task."""

    status: str  # a key of STATUSES
    outputs: int  # number of known test outputs
    solved: int  # of these
    wrong: int | None  # wrong cells of the better attempts, in all known outputs; None if a size is wrong
    cells: int  # of all known outputs
    votes: int
    top_share: float | None  # the top candidate's share of the votes, for the test where it is lowest; None: no votes
    unanimous: bool
    split: bool


def standing_of(task: Run) -> Standing:
    """The standing of a task of a record. Only known test outputs count as solved or missed."""
    misses = []
    for test in task["test"]:
        if (truth := test.get("truth")) is not None:
            differing = [cells for a in test["attempts"] if (cells := changed_cells(a, truth)) is not None]
            misses.append(Miss(min(map(len, differing), default=None), len(truth) * len(truth[0])))
    solved = sum(miss.wrong == 0 for miss in misses)
    known = [miss.wrong for miss in misses if miss.wrong is not None]
    voted = [test for test in task["test"] if test["candidates"] and test["votes"]]
    shares = [min(1.0, test["candidates"][0]["votes"] / test["votes"]) for test in voted]  # of the first candidates
    enough = all(test["votes"] >= AGREED_VOTES for test in task["test"]) and len(voted) == len(task["test"])
    return Standing(
        status=_status(misses, solved),
        outputs=len(misses),
        solved=solved,
        wrong=sum(known) if misses and len(known) == len(misses) else None,
        cells=sum(miss.cells for miss in misses),
        votes=sum(test["votes"] for test in task["test"]),
        top_share=min(shares, default=None),
        unanimous=bool(shares) and enough and min(shares) >= AGREED_SHARE,
        split=any(share < SPLIT_SHARE for share in shares),
    )


def verdict(grid: Cells, truth: Cells | None) -> tuple[str, str]:
    """A key of MARKS, and a text, for one grid."""
    if truth is None:
        return "unknown", "no truth"
    wrong = changed_cells(grid, truth)
    if wrong is None:
        return "wrong", f"wrong: {size_of(grid)}, not {size_of(truth)}"
    return ("wrong", f"wrong: {len(wrong)} of {len(grid) * len(grid[0])} cells") if wrong else ("right", "right")


def mark(kind: str, words: str) -> str:
    """A coloured mark (a key of MARKS) with its text; the colour adds nothing to the text."""
    return f'<span class="mark {kind}"><span aria-hidden="true">{MARKS[kind]}</span> {words}</span>'


def _status(misses: Sequence[Miss], solved: int) -> str:
    if not misses:
        return "no truth"
    if solved == len(misses):
        return "solved"
    if all(miss.near or miss.wrong == 0 for miss in misses):
        return "near miss"
    return "partly solved" if solved else "wrong"
