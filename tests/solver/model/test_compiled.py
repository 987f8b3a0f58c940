"""Compiled networks: one graph per kind of pass, the numbers of eager code, and a way on where compiling fails."""

import copy
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._inductor.graph import GraphLowering

from solver.model.compiled import LEAST_SECONDS, Compiled, compile_networks, default_backend, is_compiled, warm_up
from solver.model.device import in_precision
from solver.model.layers import Network, run_layers
from solver.model.trm import TRM, Condition
from solver.settings.config import TRMConfig
from solver.settings.presets import small_model

CANVASES = ((3, 3), (4, 6), (6, 4), (8, 8), (10, 10))
BASE = TRMConfig(width=16, heads=2, cycles=2, latent_updates=2, row_tokens=2, row_width=16, canvas=(10, 10))
MODELS = {
    "attention": BASE,
    "rope2d": replace(BASE, positions="rope2d", row_tokens=1),
    "mlp": replace(BASE, mixer="mlp", positions="learned"),
    "hrm": replace(BASE, networks=2, layers=1, answer_layers=2, gradient="one_step"),
    "per cell": replace(small_model(32), canvas=(10, 10)),
}
CPU = torch.device("cpu")

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of its own compiler


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Graphs:
    """A backend that runs graphs as they are, and counts them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.count, self._error = 0, error

    def __call__(self, graph: torch.fx.GraphModule, inputs: Any) -> Callable[..., Any]:
        if self._error is not None:
            raise self._error
        self.count += 1
        return graph


def use(model: TRM, backend: Any, fullgraph: bool = True) -> Compiled:
    compiled = Compiled("eager")
    compiled._run = torch.compile(run_layers, backend=backend, dynamic=True, fullgraph=fullgraph)
    for module in model.modules():
        if isinstance(module, Network):
            module.compiled = compiled
    return compiled


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "arc_trm"]


def steps(model: TRM, canvas: tuple[int, int], batch: int, graded: bool) -> list[torch.Tensor]:
    """Logits of two supervision steps, and the gradient of the rows."""
    generator = torch.Generator().manual_seed(batch)
    rows = torch.randn(batch, model.config.row_width, generator=generator).requires_grad_(graded)
    tokens = torch.randint(0, 12, (batch, canvas[0] * canvas[1]), generator=generator)
    state, logits = model.fresh_state(batch, canvas), list[torch.Tensor]()
    with torch.set_grad_enabled(graded), in_precision(CPU, None):
        for _ in range(2):
            x = model.embed(tokens, Condition(rows, torch.zeros(batch, dtype=torch.long)), canvas)
            _, made, _ = output = model(x, state, canvas)
            state = output.state
            logits.append(made)
    gradient = torch.autograd.grad(sum(map(torch.sum, logits)), rows) if graded else ()  # type: ignore[arg-type]
    return [*logits, *gradient]


@pytest.mark.parametrize("name", MODELS)
def test_two_graphs_per_network_serve_all_canvases_batches_and_copies(name: str) -> None:
    """One with gradient and one without; whole graphs, all made before the clock starts."""
    torch.manual_seed(0)
    model, graphs = TRM(MODELS[name]), Graphs()
    eager = copy.deepcopy(model)
    use(model, graphs)
    averaged = copy.deepcopy(model).eval()
    warm_up(model, None, graded=True)
    warm_up(averaged, None)
    made = graphs.count
    assert made == 2 * model.config.networks
    for canvas in CANVASES if model.config.any_canvas else CANVASES[-1:]:
        for batch in (1, 2, 5):
            for graded, network in ((True, model), (False, averaged)):
                found, expected = (steps(m, canvas, batch, graded) for m in (network, eager))
                for a, b in zip(found, expected, strict=True):
                    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert graphs.count == made
    assert is_compiled(model)
    assert not is_compiled(eager)


BYTES_PER_PASS = 60  # that fused kernels move per token, channel and layer pass, beside the matrix products


@pytest.mark.parametrize("graded", [False, True], ids=["prediction", "training"])
def test_fused_kernels_move_few_bytes(graded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Inductor fuses them here; its kernels for a card need a card to be written."""
    moved = 0

    class PlannedError(Exception):
        """What is fused is known; writing the code would take long."""

    def plan(graph: GraphLowering) -> None:
        nonlocal moved
        graph.init_wrapper_code()
        graph._update_scheduler()
        moved = sum(node.get_read_write_buffers_sizes() for node in graph.scheduler.nodes if not node.is_extern())
        raise PlannedError

    monkeypatch.setattr(GraphLowering, "codegen", plan)
    model, canvas, batch = TRM(replace(BASE, width=256, heads=4, row_width=256, canvas=(16, 16))), (16, 16), 64
    h = torch.randn(batch, model.config.puzzle_tokens + 256, 256).requires_grad_(graded)
    compiled = torch.compile(run_layers, backend="inductor", dynamic=True)
    with torch.set_grad_enabled(graded), in_precision(CPU, torch.bfloat16), pytest.raises(Exception, match="Planned"):
        compiled(model.network.layers, h, model.rotary(canvas, CPU))
    assert 30 < moved / (h.numel() * model.config.layers) <= BYTES_PER_PASS


@pytest.mark.slow
def test_inductor_computes_what_eager_code_computes() -> None:
    torch.manual_seed(0)
    model = TRM(replace(MODELS["per cell"], layers=1))
    eager, compiled = copy.deepcopy(model), use(model, "inductor")
    for a, b in zip(*(steps(m, (4, 6), 2, True) for m in (model, eager)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert compiled._run is not None


@pytest.mark.parametrize(
    "error",
    [
        torch._inductor.exc.InvalidCxxCompiler(),
        torch._dynamo.exc.FailOnRecompileLimitHit("recompile_limit reached"),
        RuntimeError("Cannot find a working triton installation"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_compiled_runs_eagerly_with_one_warning(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    model = TRM(BASE)
    expected = steps(copy.deepcopy(model), (3, 3), 2, True)
    use(model, Graphs(error))
    other = copy.deepcopy(model)
    warm_up(model, None, graded=True)
    for network in (model, other):
        for a, b in zip(steps(network, (3, 3), 2, True), expected, strict=True):
            torch.testing.assert_close(a, b)
    assert len(said(caplog)) == 1
    assert type(error).__name__ in said(caplog)[0] or "triton" in said(caplog)[0]


def test_a_backward_pass_that_cannot_be_compiled_is_found_before_training(caplog: pytest.LogCaptureFixture) -> None:
    model = TRM(BASE)

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no backward kernel")

    compiled = use(model, "eager")
    run = compiled._run
    assert run is not None
    compiled._run = lambda layers, h, rotary: Fails.apply(run(layers, h, rotary))
    warm_up(model, None, graded=True)
    assert not is_compiled(model)
    assert len(steps(model, (3, 3), 2, True)) == 3
    assert len(said(caplog)) == 1


def test_short_memory_is_not_taken_for_a_broken_compiler(caplog: pytest.LogCaptureFixture) -> None:
    model = TRM(BASE)
    compiled = use(model, Graphs(torch.OutOfMemoryError("CUDA out of memory.")))
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match="out of memory"):
        steps(model, (3, 3), 2, True)
    assert compiled._run is not None
    assert not said(caplog)


def test_only_cards_compile_by_default_and_only_in_long_runs() -> None:
    assert default_backend(torch.device("cuda", 1), LEAST_SECONDS) == "inductor"
    assert default_backend(torch.device("cuda"), LEAST_SECONDS - 1) is None
    assert default_backend(CPU, float("inf")) is None
    assert default_backend(torch.device("xpu"), float("inf")) is None
    model = TRM(replace(BASE, mixer="mamba2_hybrid"))
    compile_networks(model, "eager")  # a loop over chunks stays as it is
    assert model.network.compiled is None
