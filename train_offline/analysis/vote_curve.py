"""Accuracy over the number of votes: the value of test-time augmentation (arXiv 2512.11847, "Test-Time Compute").

Every variant is predicted once; smaller numbers of votes are random subsets. Letters: K votes of a test, k of a subset.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from solver.common.checks import at_least
from train_offline.analysis.findings import Findings, percent
from train_offline.analysis.forward import Bench, Judge, answer
from train_offline.analysis.inputs import StoppingOptions, Subject
from train_offline.analysis.vote_statistics import TOPS, subset_hits

SIZES = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)


@dataclass(frozen=True)
class VotesOptions(StoppingOptions):
    augmentations: int = 1000  # Most votes per test input: variants, the canonical one included.
    draws: int = 200  # Random subsets of each size.

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("draws", self.draws, 1)


def votes(subject: Subject, options: VotesOptions) -> Findings:
    """pass@1, 2 and 5 over the number of votes 1 to 1000, compared with one canonical pass.

    Every variant is predicted once; smaller numbers of votes are random subsets. A test input with fewer variants than
    requested uses all it has. Intervals are 95 %, bootstrapped over tasks.
    """
    bench = Bench(subject, options.batch_tokens, options.decoder)
    examples = bench.examples()
    with bench.progress("votes", bench.flops(examples, bench.model.config, options.supervision_steps)):
        found, spent = answer(bench, examples, options.predict)
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
    figures: dict[str, Any] = {
        "curve": curve,
        "canonical": judge(canonical),
        "gain_of_pass@1_over_canonical": judge(hits[:, -1, 0] - canonical),
        "right_in_any_vote": judge(np.logical_or.reduceat(found.right, bench.starts[:-1]).astype(float)),
        "votes_least": int(counts.min()),
        "votes_most": most,
        "draws": options.draws,
        "supervision_steps_mean": spent.steps / len(found.key),
        "seconds": spent.seconds,
    }
    row = {"votes": str(most), "canonical pass": percent(figures["canonical"])}
    row |= {f"pass@{top}": percent(curve[-1][f"pass@{top}"]) for top in TOPS}
    row["pass@1 - canonical"] = percent(figures["gain_of_pass@1_over_canonical"])
    return figures, [row]
