"""How a task of a run stands, by its record: solved or how far off, and whether its votes agree.

The thresholds of the page are here, and nowhere else.
"""

from collections.abc import Sequence
from typing import NamedTuple

from solver.answers.run_json import Run
from solver.answers.votes import AGREED_SHARE, AGREED_VOTES
from solver.report.drawing import Cells, size_of

NEAR_MISS_SHARE = 0.1  # of the cells of an output that may be wrong in a near miss …
NEAR_MISS_CELLS, LEAST_CELLS = 1, 4  # … or so many cells, where the output has that many
SPLIT_SHARE = 0.5  # of the votes: a top candidate with less has no majority

STATUSES = {  # with their names in the page's script and style
    "solved": "right",
    "near miss": "near",
    "partly solved": "partly",
    "wrong": "wrong",
    "no truth": "unknown",
}
MARKS = {"right": "✓", "near": "≈", "partly": "◐", "wrong": "✗", "unknown": "?"}

THRESHOLDS = (
    f"Near miss: in every output that is missed, the better attempt has the right size and at most "
    f"{NEAR_MISS_SHARE:.0%} of its cells wrong, or {NEAR_MISS_CELLS} of {LEAST_CELLS} or more. Cells wrong and outputs "
    f"solved, are by the better of the two attempts. Unanimous: in every test, the top candidate has at least "
    f"{AGREED_SHARE:.0%} of {AGREED_VOTES} votes or more. Split: in some test, it has less than {SPLIT_SHARE:.0%}. Top "
    "share: its share of the votes, in the test where it is least. In a picture of a difference, right cells are faded "
    "and wrong ones framed, with the true colour inside."
)


class Miss(NamedTuple):
    """What the better attempt at a test output gets wrong."""

    wrong: int | None  # cells; None where neither attempt has the right size
    cells: int  # of the truth

    @property
    def near(self) -> bool:
        """Whether it is a near miss; a hit is none."""
        if not self.wrong:
            return False
        return self.wrong <= NEAR_MISS_SHARE * self.cells or (
            self.wrong <= NEAR_MISS_CELLS and self.cells >= LEAST_CELLS
        )


class Standing(NamedTuple):
    """How a task stands."""

    status: str  # a key of STATUSES
    outputs: int  # test outputs with a known truth
    solved: int  # of them
    wrong: int | None  # cells that the better attempts get wrong, over its outputs; None where a size is wrong
    cells: int  # of its known outputs
    votes: int
    top_share: float | None  # votes of the top candidate, in the test where they are fewest; None without votes
    unanimous: bool
    split: bool


def standing_of(task: Run) -> Standing:
    """How a task of a record stands; only test outputs with a known truth count as solved or missed."""
    misses = [_miss(test["attempts"], test["truth"]) for test in task["test"] if test.get("truth") is not None]
    solved = sum(miss.wrong == 0 for miss in misses)
    known = [miss.wrong for miss in misses if miss.wrong is not None]
    shares = [top_share(test) for test in task["test"]]
    voted = [share for share in shares if share is not None]
    agreeing = [share is not None and share >= AGREED_SHARE for share in shares]
    enough = all(test["votes"] >= AGREED_VOTES for test in task["test"])
    return Standing(
        status=_status(misses, solved),
        outputs=len(misses),
        solved=solved,
        wrong=sum(known) if misses and len(known) == len(misses) else None,
        cells=sum(miss.cells for miss in misses),
        votes=sum(test["votes"] for test in task["test"]),
        top_share=min(voted, default=None),
        unanimous=bool(shares) and enough and all(agreeing),
        split=any(share < SPLIT_SHARE for share in voted),
    )


def top_share(test: Run) -> float | None:
    """The share of all votes that the first candidate has, 0 to 1; None without votes."""
    if not test["candidates"] or not test["votes"]:
        return None
    return min(1.0, test["candidates"][0]["votes"] / test["votes"])


def wrong_cells(grid: Cells, truth: Cells) -> int | None:
    """How many cells of `grid` differ from `truth`; None where their sizes do."""
    if (len(grid), len(grid[0])) != (len(truth), len(truth[0])):
        return None
    return sum(a != b for ours, theirs in zip(grid, truth, strict=True) for a, b in zip(ours, theirs, strict=True))


def verdict(grid: Cells, truth: Cells | None) -> tuple[str, str]:
    """A key of MARKS and the words for it, for one grid."""
    if truth is None:
        return "unknown", "no truth"
    wrong = wrong_cells(grid, truth)
    if wrong is None:
        return "wrong", f"wrong: {size_of(grid)}, not {size_of(truth)}"
    return ("wrong", f"wrong: {wrong} of {len(grid) * len(grid[0])} cells") if wrong else ("right", "right")


def mark(kind: str, words: str) -> str:
    """A key of MARKS and words as an element; the colour says nothing that the words do not."""
    return f'<span class="mark {kind}"><span aria-hidden="true">{MARKS[kind]}</span> {words}</span>'


def _miss(attempts: Sequence[Cells], truth: Cells) -> Miss:
    wrong = [count for attempt in attempts if (count := wrong_cells(attempt, truth)) is not None]
    return Miss(min(wrong, default=None), len(truth) * len(truth[0]))


def _status(misses: Sequence[Miss], solved: int) -> str:
    if not misses:
        return "no truth"
    if solved == len(misses):
        return "solved"
    if all(miss.near or miss.wrong == 0 for miss in misses):
        return "near miss"
    return "partly solved" if solved else "wrong"
