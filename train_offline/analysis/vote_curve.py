"""Accuracy over the number of votes: the value of test-time augmentation (arXiv 2512.11847, "Test-Time Compute").

Every variant is predicted once; smaller numbers of votes are random subsets. Letters: K votes of a test, k of a subset.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from solver.common.checks import at_least
from train_offline.analysis.findings import Findings, carry_out, percent
from train_offline.analysis.forward import Bench, Graded, Judge, Spent, answer
from train_offline.analysis.inputs import StoppingOptions, Subject
from train_offline.analysis.plots import draw_votes
from train_offline.analysis.vote_statistics import TOPS, subset_hits

SIZES = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)


@dataclass(frozen=True)
class VotesOptions(StoppingOptions):
    """Options of `votes`."""

    augmentations: int = 1000
    """Most votes per test input: variants, the canonical one included."""
    draws: int = 200
    """Random subsets of each size."""

    def __post_init__(self) -> None:
        """Raise InputError for a number out of range."""
        super().__post_init__()
        at_least("draws", self.draws, 1)


def votes(subject: Subject, options: VotesOptions) -> Findings:
    """pass@1, 2 and 5 over the number of votes, compared with one canonical pass."""
    bench = Bench(subject, options.batch_tokens, options.decoder)
    examples = bench.examples()
    work = bench.flops(examples, bench.model.config, options.supervision_steps)
    with bench.progress("votes", work):
        found, spent = answer(bench, examples, options.predict)
    return summarize(bench, found, spent, options)


def summarize(bench: Bench, found: Graded, spent: Spent, options: VotesOptions) -> Findings:
    """The curve, from the graded answers (N,) of all examples."""
    counts = np.diff(bench.starts)
    most = int(counts.max())
    sizes = [*(size for size in SIZES if size < most), most]
    generator = np.random.default_rng(options.seed)
    hits = np.empty((len(counts), len(sizes), len(TOPS)))
    for test, truth in enumerate(bench.truths):
        mine = slice(bench.starts[test], bench.starts[test + 1])
        hits[test] = subset_hits(found.key[mine], found.halting[mine], truth, sizes, options.draws, generator)
    judge = Judge(bench, generator)
    curve: list[dict[str, Any]] = [
        {"votes": size} | {f"pass@{top}": judge(hits[:, row, place]) for place, top in enumerate(TOPS)}
        for row, size in enumerate(sizes)
    ]
    canonical = found.right[bench.starts[:-1]].astype(float)
    known = np.logical_or.reduceat(found.right, bench.starts[:-1]).astype(float)
    figures: dict[str, Any] = {
        "curve": curve,
        "canonical": judge(canonical),
        "gain_of_pass@1_over_canonical": judge(hits[:, -1, 0] - canonical),
        "right_in_any_vote": judge(known),
        "votes_least": int(counts.min()),
        "votes_most": most,
        "draws": options.draws,
        "supervision_steps_mean": spent.steps / len(found.key),
        "seconds": spent.seconds,
    }
    row = {"votes": str(most), "canonical pass": percent(figures["canonical"])}
    row |= {f"pass@{top}": percent(curve[-1][f"pass@{top}"]) for top in TOPS}
    row["pass@1 - canonical"] = percent(figures["gain_of_pass@1_over_canonical"])
    return Findings(figures, [row])


def command(options: VotesOptions) -> int:
    """pass@1, 2 and 5 over the number of votes 1 to 1000, compared with one canonical pass.

    Every variant is predicted once; smaller numbers of votes are random subsets. A test input with fewer variants than
    requested uses all it has. Intervals are 95 %, bootstrapped over tasks.
    """
    return carry_out("votes", options, votes, draw_votes)
