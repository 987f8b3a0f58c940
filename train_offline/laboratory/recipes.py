"""`arc-trm analyze recipes`: what one change to a recipe does to the score on mini-ARC, at equal cost.

The recipe that is changed is what the preset `tiny` was before the study; what `tiny` is now came of it (LOG.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import torch
import tyro
from tqdm import tqdm

from solver.checkpoint import load_arc_knowledge
from solver.checks import shown
from solver.config import SolveConfig
from solver.errors import InputError
from solver.files import read_json, write_atomically
from solver.options import WeightsFolder
from solver.presets import small_model, tiny
from train_offline.laboratory.mini_arc import BUDGET, measure, mini_arc

Change = Callable[[SolveConfig], SolveConfig]


def _model(**settings: Any) -> Change:
    return lambda config: replace(config, model=replace(config.model, **settings))


def _fit(**settings: Any) -> Change:
    return lambda config: replace(config, fit=replace(config.fit, **settings))


def _learner(**settings: Any) -> Change:
    return lambda config: _fit(learner=replace(config.fit.learner, **settings))(config)


def _canvases(**settings: Any) -> Change:
    return lambda config: replace(config, canvases=replace(config.canvases, **settings))


def _all(*changes: Change) -> Change:
    def change(config: SolveConfig) -> SolveConfig:
        for one in changes:
            config = one(config)
        return config

    return change


_BEFORE = _all(
    _learner(supervision_steps=4, trunk_optimizer="adam_atan2", row_optimizer="adam_atan2", row_lr=1e-3),
    _model(latent_updates=2),
)
_SIGN_SGD = _learner(row_optimizer="sign_sgd", row_lr=1e-2, row_weight_decay=0.1)

BASE, PRETRAINED = "base", "pretrained"
ARMS: dict[str, Change] = {
    BASE: _all(),
    "variant-rows": _model(embedding="variant"),
    "variant-rows-sign-sgd": _all(_model(embedding="variant"), _SIGN_SGD),
    "shared-rows-sign-sgd": _SIGN_SGD,
    "full-canvas": _canvases(mode="full"),
    "rope": _model(positions="rope", rope_theta=10_000.0),
    "supervision-2": _learner(supervision_steps=2),
    "supervision-8": _learner(supervision_steps=8),
    "n-1": _model(latent_updates=1),
    "n-4": _model(latent_updates=4),
    "t-2": _model(cycles=2),
    "no-colours": _fit(colours=False, augmentations=8),
    "variants-1000": _fit(augmentations=1000),
    "stablemax": _learner(loss="stablemax"),
    "convolution": _model(convolution=2),
    "muon": _learner(trunk_optimizer="muon"),
    "mamba2-hybrid": _model(mixer="mamba2_hybrid"),
    "width-128": lambda config: replace(config, model=small_model(128)),
    "task-by-task": _fit(together=1),
    "supervision-2+muon": _learner(supervision_steps=2, trunk_optimizer="muon"),
    "supervision-2+n-1": _all(_learner(supervision_steps=2), _model(latent_updates=1)),
    "supervision-2+n-1+muon": _all(_learner(supervision_steps=2, trunk_optimizer="muon"), _model(latent_updates=1)),
    "tiny": lambda config: tiny(),
    PRETRAINED: _all(),
}
"""What each arm changes of BASE, with which all are compared; PRETRAINED starts from --weights."""


def recipe(arm: str) -> SolveConfig:
    """The settings of an arm."""
    return ARMS[arm](_BEFORE(tiny()))


TABLE = "recipes.md"
COLUMNS = {
    "pass@2": ("both", "{:.1%}"),
    "pass@1": ("first", "{:.1%}"),
    "canonical": ("canonical", "{:.1%}"),
    "held-out loss": ("held_out_loss", "{:.3f}"),
    "held-out cells": ("held_out_cells", "{:.1%}"),
    "loss": ("loss", "{:.3f}"),
    "exact": ("exact", "{:.1%}"),
    "steps": ("steps", "{:.0f}"),
}


@dataclass(frozen=True)
class RecipesOptions:
    """What `recipes` is asked."""

    out: Path
    """Folder of ARM-SEED.json, one a run, and of recipes.md, means and standard deviations over the seeds."""
    arms: Annotated[tuple[str, ...], tyro.conf.arg(help=f"Some of: {', '.join(ARMS)}. All without it.")] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each of them once."""
    budget: float = BUDGET
    """Cost of a fit in GEMM-PFLOP: CPU seconds x this machine's matrix-product rate."""
    weights: WeightsFolder | None = None
    """What the arm "pretrained" starts from: a weights folder."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """The arms. Raises InputError for one that is not there."""
        for arm in self.arms:
            if arm not in ARMS:
                raise InputError(f"--arms: expected some of {', '.join(ARMS)}, got {shown(arm)}")
        if PRETRAINED in self.arms and self.weights is None:
            raise InputError(f"--arms {PRETRAINED}: expected --weights to start from, got none")
        return self.arms or tuple(arm for arm in ARMS if arm != PRETRAINED or self.weights)


def command(options: RecipesOptions) -> int:
    """Compare recipes on mini-ARC at equal cost: 31 real tasks up to 5x5, test outputs held out.

    Each arm changes something of "base", what the preset tiny was before this study; LOG.md has what came of it. A run
    whose file is there is not made again, so that a comparison can be interrupted, extended, and shared by two
    processes. Give one thread to each: OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1.
    """
    arms, out, budget = options.chosen, options.out, options.budget
    start = load_arc_knowledge(options.weights, torch.device("cpu")) if options.weights else None
    tasks, rows = mini_arc(), []
    for seed, arm in (bar := tqdm([(seed, arm) for seed in options.seeds for arm in arms], unit="run")):
        bar.set_postfix_str(f"{arm}, seed {seed}")
        path = out / f"{arm}-{seed}.json"
        if not path.exists():
            result = measure(recipe(arm), tasks, budget, seed, start if arm == PRETRAINED else None)
            run = {"arm": arm, "seed": seed, "budget": budget, **asdict(result)}
            write_atomically(path, orjson.dumps(run, option=orjson.OPT_INDENT_2))
        rows.append(_read(path, budget))
    text = table(rows)
    write_atomically(out / TABLE, text.encode())
    print(text, end="")
    return 0


def _read(path: Path, budget: float) -> dict[str, Any]:
    run = read_json(path)
    if not isinstance(run, dict) or run.get("budget") != budget:
        raise InputError(f"{path}: expected a run of {budget:g} GEMM-PFLOP, got {shown(run)}: choose another --out")
    return run


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean ± standard deviation over the seeds of each arm, as Markdown."""
    lines = [["arm", *COLUMNS, "seeds"], ["---"] * (len(COLUMNS) + 2)]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        of_arm = [row for row in rows if row["arm"] == arm]
        cells = []
        for name, form in COLUMNS.values():
            values = [row[name] for row in of_arm]
            cells.append(f"{form.format(np.mean(values))} ± {form.format(np.std(values))}")
        lines.append([arm, *cells, str(len(of_arm))])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
