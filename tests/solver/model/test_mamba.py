"""The Mamba-2 hybrid: the chunked scan against the recurrence it stands for, and the model that is built of it.

Letters as in solver/models/mamba.py: B batch, N tokens, H heads, K size of one, S size of a head's state.
"""

from pathlib import Path

import orjson
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from solver.common.checks import InputError
from solver.model.layers import rms_norm
from solver.model.mamba import CHUNK, EXPANSION, KERNEL, Mamba2, Mamba2Hybrid, chunks_of, scan
from solver.model.trm import TRM, trainable_parameters
from solver.model.weights import CONFIG, Knowledge, load_knowledge, save_knowledge
from solver.settings.config import TRMConfig
from tests.solver.model.test_trm import SMALL, condition_for

HYBRID = TRMConfig(**SMALL, canvas=(6, 6), mixer="mamba2_hybrid", layers=1)


def slow_scan(x: Tensor, steps: Tensor, rates: Tensor, write: Tensor, read: Tensor) -> Tensor:
    """The recurrence itself, a token at a time."""
    state = x.new_zeros(x.shape[0], *x.shape[2:], write.shape[-1])  # (B, H, K, S)
    outputs = []
    for token in range(x.shape[1]):
        step = steps[:, token, :, None, None]
        gain = step * x[:, token, ..., None] * write[:, token, None, None]
        state = (step * rates[:, None, None]).exp() * state + gain
        outputs.append((state * read[:, token, None, None]).sum(dim=-1))
    return torch.stack(outputs, dim=1)


def slow_block(block: Mamba2, h: Tensor) -> Tensor:
    """The block from torch's own operations and the recurrence."""
    gate, inputs, steps = F.linear(h, block.project.weight).split(block.gate_and_steps, dim=-1)
    kernel = block.convolution.weight.t()[:, None]
    padded = F.pad(inputs.transpose(1, 2), (KERNEL - 1, 0))
    inputs = F.silu(F.conv1d(padded, kernel, block.convolution.bias, groups=len(kernel))).transpose(1, 2)
    x, write, read = inputs.split(block.inputs, dim=-1)
    x = x.unflatten(-1, (block.heads, -1))
    steps = (1 + (steps + block.step_bias).exp()).log()
    y = slow_scan(x, steps, -block.log_rates.exp(), write, read) + block.skip[:, None] * x
    return rms_norm(h + F.linear(rms_norm(y.flatten(2) * F.silu(gate)), block.out.weight))


def samples(tokens: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> list[Tensor]:
    """x, steps, rates, write and read, with states that live for one token up to hundreds."""
    generator = torch.Generator().manual_seed(tokens)
    batch, heads, size, state = 2, 3, 4, 5
    x, write, read = (
        torch.randn(batch, tokens, *shape, generator=generator, dtype=dtype)
        for shape in ((heads, size), (state,), (state,))
    )
    steps = torch.rand(batch, tokens, heads, generator=generator, dtype=dtype)
    rates = torch.tensor([-0.005, -0.5, -16.0], dtype=dtype)
    return [part.to(device).requires_grad_() for part in (x, steps, rates, write, read)]


def agree(fast: Tensor, slow: Tensor, parts: list[Tensor]) -> None:
    """Values and the derivatives to all parts."""
    torch.testing.assert_close(fast, slow)
    grad = torch.randn(slow.shape, generator=torch.Generator().manual_seed(0), dtype=slow.dtype).to(slow.device)
    gradients = [torch.autograd.grad(y, parts, grad) for y in (fast, slow)]
    for of_fast, of_slow in zip(*gradients, strict=True):
        torch.testing.assert_close(of_fast, of_slow)


@pytest.mark.parametrize("tokens", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 3, 3 * CHUNK + 1])
def test_the_scan_is_the_recurrence(tokens: int, device: torch.device) -> None:
    parts = samples(tokens, device=device)
    agree(scan(*parts), slow_scan(*parts), parts)


@pytest.mark.parametrize("largest", [1, 2, 3, 7, 10, 64])
def test_chunks_of_any_length_give_the_same(largest: int) -> None:
    parts = samples(10)
    agree(scan(*parts, largest=largest), slow_scan(*parts), parts)


def test_chunks_are_of_one_length_with_little_padding() -> None:
    assert [chunks_of(tokens) for tokens in (1, 64, 65, 116, 916)] == [(1, 1), (1, 64), (2, 33), (2, 58), (15, 62)]
    for tokens in range(1, 1000):
        chunks, length = chunks_of(tokens)
        assert length <= CHUNK
        assert 0 <= chunks * length - tokens < chunks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_heads_that_forget_at_once_overflow_nowhere(dtype: torch.dtype) -> None:
    x, steps, rates, write, read = samples(150, dtype)
    parts = [x, (1000 * steps).detach().requires_grad_(), rates, write, read]
    if dtype == torch.float64:
        agree(scan(*parts), slow_scan(*parts), parts)
    torch.testing.assert_close(scan(*parts), slow_scan(*parts), rtol=1e-2, atol=0.1)
    for gradient in torch.autograd.grad(scan(*parts).sum(), parts):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("tokens", [1, 3, 10, CHUNK + 6])
def test_the_block_is_what_mamba_2_says(tokens: int, device: torch.device) -> None:
    torch.manual_seed(0)
    block = Mamba2(16, 2).double().to(device)
    h = torch.randn(2, tokens, 16, dtype=torch.float64, device=device, requires_grad=True)
    parts = [h, *block.parameters()]
    agree(block(h), slow_block(block, h), parts)
    with torch.no_grad():
        torch.testing.assert_close(block(h), slow_block(block, h))  # what is done in place without gradient


def test_the_scan_looks_back_and_attention_ahead() -> None:
    torch.manual_seed(0)
    mixer = Mamba2Hybrid(16, 2, 8)
    h = torch.randn(1, 80, 16)
    changed = h.clone()
    changed[:, 70] += 1
    with torch.no_grad():
        for block in mixer.mamba:
            moved = (block(h) - block(changed)).abs().amax(dim=(0, 2))
            assert moved[:70].max() == 0
            assert moved[70:].min() > 0
        assert (mixer(h, None) - mixer(changed, None)).abs().amax(dim=(0, 2))[:70].min() > 0


def test_products_in_half_precision_come_close(device: torch.device) -> None:
    torch.manual_seed(0)
    block = Mamba2(32, 2).to(device)
    h = rms_norm(torch.randn(2, 150, 32, device=device))
    exact = block(h)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        close = block(h)
    assert (close - exact).abs().max() < 0.1
    assert block.bfloat16()(h.bfloat16()).dtype == torch.bfloat16


def test_fresh_steps_and_rates_are_within_their_ranges() -> None:
    block = Mamba2(512, 128)
    steps = F.softplus(block.step_bias)
    assert steps.min() >= 0.00099
    assert steps.max() <= 0.1001
    assert block.log_rates.exp().min() >= 0.999
    assert block.log_rates.exp().max() <= 16.001


def test_one_layer_has_the_size_that_the_paper_states() -> None:
    """6.86 M against the TRM's 6.83 M: the state of 128 at width 512 is read off these."""
    assert Mamba2(512, 8).inputs == (1024, 128, 128)  # inner width, and twice the state size
    assert EXPANSION * 512 // (EXPANSION * TRMConfig().heads) == 64  # of a head
    assert trainable_parameters(TRM(TRMConfig(mixer="mamba2_hybrid", layers=1))) == pytest.approx(6.86e6, rel=0.001)


@pytest.mark.parametrize("positions", ["rope", "rope2d", "learned", "none"])
def test_the_hybrid_serves_every_canvas(positions: str, device: torch.device) -> None:
    model = TRM(TRMConfig(**{**SMALL, "canvas": (12, 12), "mixer": "mamba2_hybrid", "positions": positions})).to(device)
    assert model.config.any_canvas
    for canvas in ((12, 12), (2, 5), (1, 1)):
        tokens = torch.randint(0, 12, (3, canvas[0] * canvas[1]), device=device)
        output = model(model.embed(tokens, condition_for(model, 3), canvas), model.fresh_state(3, canvas), canvas)
        assert output.logits.shape == (3, canvas[0] * canvas[1], 12)
        assert torch.isfinite(output.logits).all()
        output.logits.square().sum().backward()
        of_layers = {name: p.grad for name, p in model.named_parameters() if name.startswith("network.")}
        assert all(grad is not None and torch.isfinite(grad).all() for grad in of_layers.values())


def test_a_folder_keeps_the_hybrid_and_one_from_before_has_none(tmp_path: Path) -> None:
    """Folders written before a setting came lack it: they hold a model without."""
    cpu = torch.device("cpu")
    model = TRM(TRMConfig(**{**SMALL, "mixer": "mamba2_hybrid", "convolution": 2, "layers": 1}))
    save_knowledge(tmp_path / "new", Knowledge(model, torch.zeros(0, 32), {}))
    loaded = load_knowledge(tmp_path / "new", cpu).model
    assert loaded.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)

    old = TRM(TRMConfig(**SMALL))
    save_knowledge(tmp_path / "old", Knowledge(old, torch.zeros(0, 32), {}))
    settings = orjson.loads((tmp_path / "old" / CONFIG).read_bytes())
    del settings["convolution"]
    (tmp_path / "old" / CONFIG).write_bytes(orjson.dumps(settings))
    assert load_knowledge(tmp_path / "old", cpu).model.config == old.config

    (tmp_path / "old" / CONFIG).write_bytes(orjson.dumps({**settings, "mixer": "mamba"}))
    with pytest.raises(InputError, match="mixer: expected one of attention, mlp, mamba2_hybrid, got 'mamba'"):
        load_knowledge(tmp_path / "old", cpu)
    (tmp_path / "old" / CONFIG).write_bytes(orjson.dumps({**settings, "convolution": 2}))
    with pytest.raises(InputError, match=r"swiglu\.convolution\.bias'"):
        load_knowledge(tmp_path / "old", cpu)
