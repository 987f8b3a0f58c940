"""What a run reports while it works. `solve` yields these; whoever runs it decides what becomes of them."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from solver.answers.votes import Block

if TYPE_CHECKING:
    from solver.fit import Fitting


class Progress(NamedTuple):
    """A fitting step or a batch of votes is done: how far the run is."""

    round: int
    steps: int  # of fitting, summed over the groups
    loss: float  # mean per slot; nan before the first reading
    exact: float  # recent share of demonstrations whose whole output is right
    votes: int
    agreed: int  # test inputs whose votes are nearly unanimous
    tests: int

    def text(self) -> str:
        fit = "" if math.isnan(self.loss) else f"loss {self.loss:.3f}, exact {self.exact:.1%}; "
        return f"{fit}{self.votes} votes, agreed on {self.agreed} of {self.tests} outputs"


class Counted(NamedTuple):
    """Votes have been counted: whoever stores them now loses none to a kill."""

    blocks: Sequence[Block]


class RoundDone(NamedTuple):
    """A round is over: its votes are the best known so far, and its weights can be kept."""

    fitting: "Fitting"


Event = Progress | Counted | RoundDone
