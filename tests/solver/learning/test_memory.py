"""The peak memory that is predicted without data is that of a learner with data, and chunks are chosen to fit it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from solver.common.checks import InputError
from solver.common.clock import Clock
from solver.learning.learner import Learner
from solver.learning.memory import TrainingMemory
from solver.model.device import free_memory, in_precision, pass_tokens
from solver.model.trm import TRM, Condition
from solver.model.weights import fresh_knowledge
from solver.model.without_data import ROOM, LiveBytes
from solver.predict import Predictor, bytes_per_token, refine
from solver.settings.config import LearnerConfig, PredictConfig, TRMConfig
from solver.tokens.encode import Batch
from tests.solver.learning.steps import train_step
from tests.solver.samples import TASKS, config, make_fitting

pytestmark = pytest.mark.slow

CANVAS = (6, 6)
ATTENTION = TRMConfig(width=32, heads=2, cycles=2, latent_updates=2, canvas=CANVAS, row_tokens=2, row_width=32)
MODELS = {
    "attention": ATTENTION,
    "mamba": replace(ATTENTION, mixer="mamba2_hybrid"),
    "per cell": replace(ATTENTION, embedding="per_cell", positions="rope2d", halting="none"),
}


def measured(model: TRMConfig, config: LearnerConfig, slots: int, chunk: int, autocast: torch.dtype | None) -> int:
    """Peak of the second step of a real learner."""
    tokens = model.puzzle_tokens + CANVAS[0] * CANVAS[1]
    with LiveBytes() as live:
        table = nn.Parameter(torch.zeros(1000, 32))
        learner = Learner(TRM(model), table, config, torch.Generator().manual_seed(0), autocast)
        learner.chunk_tokens = chunk * tokens

        def draw(count: int) -> Batch:
            inputs, ids = torch.zeros(2, count, 36, dtype=torch.int64), torch.zeros(2, count, dtype=torch.int64)
            return Batch(*inputs.clone().unbind(), *ids.clone().unbind())

        train_step(learner, CANVAS, slots, draw)
        live.peak = 0
        train_step(learner, CANVAS, slots, draw)
    return live.peak


@pytest.mark.parametrize(
    ("name", "chunk", "row_optimizer", "autocast"),
    [
        ("attention", 24, "sign_sgd", None),
        ("attention", 6, "sign_sgd", torch.bfloat16),
        ("mamba", 6, "adam_atan2", None),
        ("per cell", 6, "adam_atan2", None),
    ],
)
def test_the_peak_without_data_is_that_with_data(
    name: str, chunk: int, row_optimizer: str, autocast: torch.dtype | None
) -> None:
    model, config = MODELS[name], LearnerConfig(row_optimizer=row_optimizer)
    tokens = model.puzzle_tokens + CANVAS[0] * CANVAS[1]
    memory = TrainingMemory(model, config, 1000, CANVAS, 24, 24 * tokens, autocast)
    assert memory.peak(chunk) == pytest.approx(measured(model, config, 24, chunk, autocast), rel=0.05)


def test_the_largest_chunk_that_fits_is_near_and_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainingMemory, "peak", lambda memory, chunk: 1000 + 10 * chunk)
    memory = TrainingMemory(ATTENTION, LearnerConfig(), 10, CANVAS, 64, 64 * 38)
    many = 1000 * 38
    assert memory.fitting_chunk(1e12, many) == 64
    assert memory.fitting_chunk(1e12, 5 * 38 + 37) == 5
    assert memory.fitting_chunk(1e12, 10) == 1
    room = memory.peak(16) / ROOM
    assert memory.fitting_chunk(room, many) == 16
    assert memory.fitting_chunk(room - 1, many) == 8
    least = memory.peak(1) / ROOM
    assert memory.fitting_chunk(least, many) == 1
    with pytest.raises(InputError, match=r"memory: expected [\d.e-]+ GB, got [\d.e-]+ GB free: smaller --step-tokens"):
        memory.fitting_chunk(least - 1, many)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_the_memory_of_a_prediction_is_that_with_data(autocast: torch.dtype | None) -> None:
    model, count, config = MODELS["attention"], 24, PredictConfig(supervision_steps=3, early_stop=False)
    trunk = TRM(model)
    with torch.inference_mode(), LiveBytes() as live, in_precision(torch.device("cpu"), autocast):
        condition = Condition(torch.zeros(count, 32), torch.zeros(count, dtype=torch.int64))
        refine(trunk, torch.zeros(count, 36, dtype=torch.int64), condition, CANVAS, config, Clock())
    with torch.inference_mode():
        each = bytes_per_token(model, CANVAS, autocast)
    assert each * count * 38 == pytest.approx(live.peak, rel=0.05)


def test_a_batch_of_prediction_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU a usual batch is small, and takes no time to plan."""
    settings = config()
    fitted = make_fitting(TASKS, fresh_knowledge(settings.model, 0, torch.device("cpu")), settings).fitted()

    def most(batch_tokens: int | None) -> int:
        chosen = replace(settings.predict, batch_tokens=batch_tokens)
        return Predictor(TASKS, fitted, chosen, settings.canvases)._limit.tokens

    asked = []
    monkeypatch.setattr("solver.predict.free_memory", lambda device: 1e9)
    monkeypatch.setattr("solver.predict.bytes_per_token", lambda *given: asked.append(given) or 1000)
    usual = pass_tokens(torch.device("cpu"), settings.model.width, training=False)
    assert (most(None), most(7)) == (usual, 7)
    assert not asked
    assert most(10**9) == ROOM * 10**6
    assert asked == [(settings.model, (4, 4), None)]


def test_what_torch_has_cached_on_a_card_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, got in (("mem_get_info", (5, 16)), ("memory_reserved", 10), ("memory_allocated", 7)):
        monkeypatch.setattr(torch.cuda, name, lambda device, got=got: got)
    assert free_memory(torch.device("cuda")) == 5 + 10 - 7


@pytest.mark.parametrize(
    ("device", "width", "training", "prediction"),
    [
        ("cuda", 512, 58_624, 234_496),
        ("cuda", 128, 234_496, 937_984),
        ("cuda", 1024, 29_312, 117_248),
        ("cpu", 512, 916, 1832),
        ("cpu", 96, 4885, 9770),
    ],
)
def test_batches_follow_device_and_width(device: str, width: int, training: int, prediction: int) -> None:
    assert pass_tokens(torch.device(device), width) == training
    assert pass_tokens(torch.device(device), width, training=False) == prediction
