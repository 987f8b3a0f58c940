"""`arc-trm analyze ANALYSIS WEIGHTS --tasks CHALLENGES --out DIR`: what a checkpoint can do, and why."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Union

import tyro

from train_offline.analysis import efficiency, identity, plots, recursion, vote_curve
from train_offline.analysis.findings import Findings, carry_out

ANALYSES: dict[str, tuple[type, Callable[[Any, Any], Findings], Callable[[Any], Any]]] = {
    "votes": (vote_curve.VotesOptions, vote_curve.votes, plots.draw_votes),
    "identity": (identity.IdentityOptions, identity.identity, plots.draw_identity),
    "recursion": (recursion.RecursionOptions, recursion.recursion, plots.draw_recursion),
    "efficiency": (efficiency.EfficiencyOptions, efficiency.efficiency, plots.draw_efficiency),
}
"""Name -> its dataclass of options, the function that computes the figures, and the one that draws them."""

_Analysis: Any = Union[  # noqa: UP007 (built from the table)
    tuple(
        Annotated[options, tyro.conf.subcommand(name, description=inspect.getdoc(analyze))]
        for name, (options, analyze, _) in ANALYSES.items()
    )
]


@tyro.conf.configure(tyro.conf.OmitSubcommandPrefixes)
def command(analysis: Annotated[_Analysis, tyro.conf.arg(name="")]) -> int:
    """Analyze a checkpoint. Every analysis writes its figures as JSON, a picture, and a Markdown table row."""
    name = next(name for name, (options, _, _) in ANALYSES.items() if type(analysis) is options)
    _, analyze, draw = ANALYSES[name]
    return carry_out(name, analysis, analyze, draw)
