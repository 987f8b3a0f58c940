"""The network: both matrix products, positions, and what the published shape fixes."""

import math

import pytest
import torch
import torch.nn.functional as F

from solver.common.checks import InputError
from solver.model import linear as products
from solver.model.layers import DepthwiseConvolution, SwiGLU, rms_norm, swiglu_width
from solver.model.linear import LARGE, has_fast_path, has_onednn, linear, truncated_normal
from solver.model.rotary import rope2d_angles, rope_angles, rotary_tables, rotate
from solver.model.trm import TRM, Condition, trainable_parameters
from solver.settings.config import TRMConfig

SMALL = {"width": 16, "heads": 2, "cycles": 2, "latent_updates": 2, "row_tokens": 2, "row_width": 32}


def condition_for(model: TRM, batch: int) -> Condition:
    device = model.y0.device
    rows = torch.linspace(-1, 1, batch * model.config.row_width, device=device).view(batch, -1)
    return Condition(rows, torch.arange(batch, device=device) % 8)


@pytest.mark.parametrize("shape", [(7, 300, 257), (64, 256, 768), (3, 8, 8)])
def test_both_matrix_products_agree(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    samples, inputs, outputs = shape
    x = torch.randn(2, samples, inputs, dtype=torch.float32, requires_grad=True)
    weight = torch.randn(outputs, inputs, requires_grad=True)
    grad = torch.randn(2, samples, outputs)
    results = []
    monkeypatch.setattr(products, "_prefers_onednn", has_onednn)  # whatever this machine prefers
    for enabled in (True, False):
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", enabled)
        assert has_fast_path(x, weight) == (enabled and has_onednn() and weight.numel() >= LARGE)
        product = linear(x, weight)
        results.append((product.detach(), *torch.autograd.grad(product, (x, weight), grad)))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("instructions", "faster"), [("AVX2", False), ("AVX512", True), ("DEFAULT", False)])
def test_onednn_multiplies_where_the_processor_has_avx512(
    instructions: str, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    assert products._prefers_onednn.__wrapped__() == (faster and has_onednn())


def test_norm_has_the_derivative_of_its_formula() -> None:
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rms_norm, (x,))
    torch.testing.assert_close(rms_norm(x), F.rms_norm(x, (6,), eps=1e-5))


def test_truncated_normal_has_the_named_spread() -> None:
    values = truncated_normal((200, 500), 0.3, torch.Generator().manual_seed(0))
    assert values.std().item() == pytest.approx(0.3, rel=0.01)
    assert values.abs().max().item() == pytest.approx(2 * 0.3 / 0.8796, rel=0.01)


def test_published_model_has_the_published_size() -> None:
    assert trainable_parameters(TRM(TRMConfig())) == pytest.approx(6.83e6, rel=0.01)
    assert swiglu_width(512, 4) == 1536


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("tokens", [1, 2, 7])
@pytest.mark.parametrize(("kernel", "before"), [(1, 0), (2, 1), (3, 1), (4, 3), (4, 0)])
def test_depthwise_convolution_is_torchs(
    kernel: int, before: int, tokens: int, compiled: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiled)
    ours = DepthwiseConvolution(5, kernel, before).double().to(device)
    x = torch.randn(3, tokens, 5, dtype=torch.float64, device=device, requires_grad=True)
    padded = F.pad(x.transpose(1, 2), (before, kernel - 1 - before))
    slow = F.conv1d(padded, ours.weight.t()[:, None], ours.bias, groups=5).transpose(1, 2)
    torch.testing.assert_close(ours(x), slow)
    grad = torch.randn(slow.shape, dtype=torch.float64, device=device)
    gradients = [torch.autograd.grad(y, (x, ours.weight, ours.bias), grad) for y in (ours(x), slow)]
    for fast, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, expected)


def test_a_swiglu_with_a_convolution_is_the_urms() -> None:
    """Arithmetic of arXiv 2512.14693 with kernel 2: each token takes in the one before it, the first one nothing."""
    torch.manual_seed(0)
    swiglu = SwiGLU(8, 256, convolution=2)
    x = torch.randn(2, 5, 8)
    gate, up = (x @ swiglu.gate_up.weight.t()).chunk(2, dim=-1)
    inner = F.silu(gate) * up
    earlier = torch.cat([torch.zeros_like(inner[:, :1]), inner[:, :-1]], dim=1)
    convolution = swiglu.convolution
    assert convolution is not None
    mixed = convolution.weight[0] * earlier + convolution.weight[1] * inner + convolution.bias
    expected = F.silu(mixed) @ swiglu.down.weight.t()
    torch.testing.assert_close(swiglu(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(swiglu(x), expected)  # what is done in place without gradient
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert swiglu(x).dtype == torch.bfloat16


def test_the_convolution_is_in_the_swiglu_of_the_width_alone() -> None:
    for mixer in ("attention", "mlp", "mamba2_hybrid"):
        plain, more = (
            {
                name: tuple(tensor.shape)
                for name, tensor in TRM(TRMConfig(**SMALL, canvas=(2, 2), mixer=mixer, convolution=kernel))
                .state_dict()
                .items()
            }
            for kernel in (0, 2)
        )
        extra = {name: shape for name, shape in more.items() if name not in plain}
        assert extra == {
            f"network.layers.{layer}.swiglu.convolution.{name}": shape
            for layer in range(2)
            for name, shape in (("weight", (2, 256)), ("bias", (256,)))
        }
        assert {name: more[name] for name in plain} == plain


def test_the_default_model_has_the_names_that_it_always_had() -> None:
    with torch.device("meta"):
        names = set(TRM(TRMConfig()).state_dict())
    parts = ("mixer.qkv", "mixer.out", "swiglu.gate_up", "swiglu.down")
    assert names == {f"network.layers.{layer}.{part}.weight" for layer in range(2) for part in parts} | {
        "token_embedding",
        "output_head.weight",
        "halting_weight",
        "halting_bias",
        "y0",
        "z0",
    }


def test_puzzle_row_is_padded_with_zeros() -> None:
    model = TRM(TRMConfig(width=4, heads=1, row_tokens=2, row_width=5))
    condition = Condition(torch.ones(3, 5), torch.zeros(3).long())
    x = model.embed(torch.zeros(3, 4).long(), condition, (2, 2))
    assert x.shape == (3, 2 + 4, 4)
    assert (x[:, :2] / 4**0.5).flatten(1).tolist() == [[1] * 5 + [0] * 3] * 3


def test_rope_keeps_a_cells_angle_on_a_smaller_canvas() -> None:
    full = rope_angles((6, 6), 6, puzzle_tokens=2, head_size=8, theta=100.0)
    part = rope_angles((2, 3), 6, puzzle_tokens=2, head_size=8, theta=100.0)
    assert torch.equal(part, full[[0, 1, 2, 3, 4, 8, 9, 10]])


def test_rope2d_scores_depend_on_the_distance_alone() -> None:
    tables = rotary_tables(rope2d_angles((5, 5), puzzle_tokens=1, head_size=8, theta=10.0))
    q, k = torch.randn(2, 1, 1, 1, 8)
    turned_q, turned_k = (rotate(x.expand(1, 26, 1, 8), tables)[0, 1:, 0].view(5, 5, 8) for x in (q, k))
    score = lambda a, b: (turned_q[a] * turned_k[b]).sum().item()  # noqa: E731
    assert score((0, 0), (1, 2)) == pytest.approx(score((3, 1), (4, 3)), abs=1e-5)
    assert score((0, 0), (1, 2)) != pytest.approx(score((0, 0), (2, 1)), abs=1e-3)


@pytest.mark.parametrize("embedding", ["variant", "per_cell"])
@pytest.mark.parametrize("positions", ["rope", "rope2d", "learned", "none"])
def test_attention_serves_every_canvas(positions: str, embedding: str, device: torch.device) -> None:
    config = TRMConfig(**{**SMALL, "row_width": 16}, canvas=(6, 6), positions=positions, embedding=embedding)
    model = TRM(config).to(device)
    for canvas in ((6, 6), (2, 5)):
        cells = canvas[0] * canvas[1]
        tokens = torch.randint(0, 12, (3, cells), device=device)
        x = model.embed(tokens, condition_for(model, 3), canvas)
        output = model(x, model.fresh_state(3, canvas), canvas)
        assert output.logits.shape == (3, cells, 12)
        assert output.halting.shape == (3, 2)
        assert output.state.y.shape == output.state.z.shape == (3, config.puzzle_tokens + cells, 16)
        assert not output.state.y.requires_grad
        assert torch.isfinite(output.logits).all()


def test_positions_matter_only_where_there_are_some() -> None:
    """Swapping two equal-content cells' neighbours changes the answer with positions, not without."""
    for positions, differs in (("rope2d", True), ("rope", True), ("learned", True), ("none", False)):
        torch.manual_seed(0)
        model = TRM(TRMConfig(**SMALL, canvas=(3, 3), positions=positions))
        tokens = torch.tensor([[2, 3, 4, 5, 6, 7, 8, 9, 10]])
        swapped = tokens[:, [0, 2, 1, 3, 4, 5, 6, 7, 8]]
        first = [
            model(model.embed(t, condition_for(model, 1), (3, 3)), model.fresh_state(1, (3, 3)), (3, 3)).logits[0, 0]
            for t in (tokens, swapped)
        ]
        assert torch.allclose(*first, atol=1e-5) != differs


def test_rows_and_symmetries_on_every_cell_tell_tasks_and_variants_apart() -> None:
    model = TRM(TRMConfig(**{**SMALL, "row_width": 16}, canvas=(2, 2), embedding="per_cell"))
    rows, tokens = torch.stack([torch.zeros(16), torch.zeros(16), torch.ones(16)]), torch.full((3, 4), 2)
    x = model.embed(tokens, Condition(rows, torch.tensor([0, 1, 0])), (2, 2))
    assert x.shape == (3, 4, 16)  # no leading tokens
    cells = x / 16**0.5 - model.token_embedding[2]
    torch.testing.assert_close(cells, (rows + model.symmetry_embedding[[0, 1, 0]])[:, None].expand(3, 4, 16))
    assert model.config.puzzle_tokens == 0


def test_token_mlp_serves_its_own_canvas_only() -> None:
    model = TRM(TRMConfig(**SMALL, canvas=(3, 3), mixer="mlp", positions="none"))
    x = model.embed(torch.zeros(1, 4, dtype=torch.long), condition_for(model, 1), (2, 2))
    with pytest.raises(InputError, match=r"only its own canvas \(3, 3\), got \(2, 2\)"):
        model(x, model.fresh_state(1, (2, 2)), (2, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "multiple of its 3 heads"),
        ({"heads": 0}, "multiple of its 0 heads"),
        ({"row_width": 33}, "does not fit"),
        ({"cycles": 0}, "at least 1"),
        ({"latent_updates": 0}, "at least 1"),
        ({"convolution": -1}, "convolution: expected a kernel of at least 1, or 0 for none, got -1"),
        ({"networks": 3}, "expected 1 or 2 latents and no more networks than latents, got 3 networks"),
        ({"networks": 2, "latents": 1}, "got 2 networks and 1 latents"),
        ({"answer_layers": 1}, "answer_layers: expected 0 without a network of its own, got 1"),
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TRMConfig(**{**SMALL, **change})


def test_only_the_last_cycle_carries_gradient() -> None:
    """With T = 2 the gradient equals that of T = 1 started where the first cycle ended."""
    torch.manual_seed(0)
    twice, once = (TRM(TRMConfig(**{**SMALL, "cycles": cycles}, canvas=(2, 2))) for cycles in (2, 1))
    once.load_state_dict(twice.state_dict())
    tokens, canvas = torch.tensor([[2, 3, 4, 5]]), (2, 2)
    middle = once(once.embed(tokens, condition_for(once, 1), canvas), once.fresh_state(1, canvas), canvas).state
    gradients = []
    for model, state in ((twice, twice.fresh_state(1, canvas)), (once, middle)):
        model(model.embed(tokens, condition_for(model, 1), canvas), state, canvas).logits.square().sum().backward()
        gradients.append(model.network.layers[0].swiglu.down.weight.grad)
    assert gradients[0].norm() > 0
    torch.testing.assert_close(*gradients)


def test_halting_head_starts_almost_never_halting() -> None:
    model = TRM(TRMConfig(**SMALL, canvas=(2, 2)))
    x = model.embed(torch.zeros(1, 4, dtype=torch.long), condition_for(model, 1), (2, 2))
    halting = model(x, model.fresh_state(1, (2, 2)), (2, 2)).halting
    assert halting.flatten().tolist() == [-5.0, -5.0]
    assert halting.sigmoid().max() < 0.01
    assert math.isclose(halting.sigmoid().max().item(), 1 / (1 + math.exp(5)), rel_tol=1e-4)
