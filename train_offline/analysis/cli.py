"""`arc-trm analyze ANALYSIS WEIGHTS --tasks CHALLENGES --out DIR`: what a checkpoint can do, and why."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Union

import tyro

from train_offline.analysis import efficiency, identity, recursion, vote_curve

ANALYSES: dict[str, tuple[type, Callable[[Any], int]]] = {
    "votes": (vote_curve.VotesOptions, vote_curve.command),
    "identity": (identity.IdentityOptions, identity.command),
    "recursion": (recursion.RecursionOptions, recursion.command),
    "efficiency": (efficiency.EfficiencyOptions, efficiency.command),
}
"""Name -> its dataclass of options, and the function that takes them."""

_Analysis: Any = Union[  # noqa: UP007 (built from the table)
    tuple(
        Annotated[options, tyro.conf.subcommand(name, description=inspect.getdoc(run))]
        for name, (options, run) in ANALYSES.items()
    )
]


@tyro.conf.configure(tyro.conf.OmitSubcommandPrefixes)
def command(analysis: Annotated[_Analysis, tyro.conf.arg(name="")]) -> int:
    """Analyze a checkpoint. Every analysis writes its figures as JSON, a picture, and a Markdown table row.

    Args:
        analysis: Which analysis.
    """
    return dict(ANALYSES.values())[type(analysis)](analysis)
