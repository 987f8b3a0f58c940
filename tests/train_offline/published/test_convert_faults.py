"""A checkpoint that does not fit, or is none, is refused in one line that names the tensor, expected and got."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from solver.common.checks import InputError
from tests.train_offline.published.published_samples import (
    GOLDEN,
    NAMES,
    State,
    bring_in,
    published_folder,
    published_state,
)
from train_offline.published.convert import IDENTIFIERS, export_command, import_command
from train_offline.published.names import PREFIX, bare_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return published_folder(tmp_path)


class Code:
    """A pickle that runs something when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


EMBEDDING = f"'{PREFIX}embed_tokens.embedding_weight'"
QKV = f"{PREFIX}L_level.layers.1.self_attn.qkv_proj.weight"
TABLE = f"{PREFIX}puzzle_emb.weights"
MISMATCHES: dict[str, tuple[Callable[[State], object], str]] = {
    "missing": (lambda s: s.pop(QKV), rf"tensor '{QKV}': expected \(192, 64\), got none"),
    "no embedding": (lambda s: s.pop(EMBEDDING[1:-1]), rf"{EMBEDDING}: expected \(12, 64\), got none"),
    "surplus": (lambda s: s.update({"other.weight": torch.ones(2)}), r"'other.weight': expected none, got \(2,\)"),
    "surplus layer": (
        lambda s: s.update({QKV.replace(".1.", ".99999999."): torch.ones(2)}),
        r"layers.99999999.self_attn.qkv_proj.weight': expected none, got \(2,\)",
    ),
    "transposed": (
        lambda s: s.update({QKV: s[QKV].t().contiguous()}),
        rf"{QKV}': expected \(192, 64\), got \(64, 192\)",
    ),
    "scalar": (lambda s: s.update({PREFIX + "H_init": torch.ones(())}), r"H_init': expected \(64,\), got \(\)"),
    "vocabulary": (
        lambda s: s.update({EMBEDDING[1:-1]: torch.ones(11, 64)}),
        rf"{EMBEDDING}: expected \(12, 64\), got \(11, 64\)",
    ),
    "no table": (lambda s: s.pop(TABLE), rf"'{TABLE}': expected \(12, 64\) \(12 names in the ident.*\), got none"),
    "another table": (
        lambda s: s.update({TABLE: torch.ones(11, 64)}),
        rf"'{TABLE}': expected \(12, 64\) \(12 names in the identifiers\), got \(11, 64\)",
    ),
    "whole numbers": (lambda s: s.update({TABLE: torch.ones(12, 64).int()}), "expected one of float32, .*torch.int32"),
    "twice": (
        lambda s: s.update({bare_name(QKV): s[QKV]}),
        rf"'{bare_name(QKV)}': expected every tensor once, got it as '{QKV}' as well",
    ),
}


@pytest.mark.parametrize("fault", MISMATCHES)
def test_mismatches_name_the_tensor(folder: Path, fault: str) -> None:
    damage, message = MISMATCHES[fault]
    state = published_state("trm_att")
    damage(state)
    check(folder, message, state)
    assert not (folder.parent / "ours").exists()


def check(folder: Path, message: str, state: object, **options: object) -> None:
    """That the import of `state` is refused in one line that matches."""
    with pytest.raises(InputError, match=message) as caught:
        bring_in(folder, state, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 128}, rf"{EMBEDDING}: expected \(12, 128\), got \(12, 64\)"),
        ({"vocab_size": 11}, rf"{EMBEDDING}: expected \(11, 64\), got \(12, 64\)"),
        ({"L_layers": 3}, r"L_level.layers.2.self_attn.qkv_proj.weight': expected \(192, 64\), got none"),
        ({"expansion": 20}, r"layers.0.mlp.gate_up_proj.weight': expected \(2048, 64\), got \(512, 64\)"),
        ({"mlp_t": True}, r"layers.0.mlp_t.gate_up_proj.weight': expected \(512, 53\), got none"),
        ({"pos_encodings": "learned"}, r"embed_pos.embedding_weight': expected \(53, 64\), got none"),
        ({"puzzle_emb_ndim": 32}, rf"'{TABLE}': expected \(12, 32\) .*, got \(12, 64\)"),
        ({"num_puzzle_identifiers": 13}, "identifiers.json: expected 13 names .*, got 12"),
        ({"num_heads": 0}, r"settings.json: num_heads: expected a whole number 1..4096, got 0"),
        ({"num_heads": 5}, "width 64 must be an even multiple of its 5 heads"),
        ({"hidden_size": "64"}, "settings.json: hidden_size: expected a whole number"),
        ({"expansion": -1}, "expansion: expected a positive number, got -1"),
        ({"mlp_t": "yes"}, "mlp_t: expected true or false, got 'yes'"),
        ({"pos_encodings": "rope2d"}, "pos_encodings: expected one of rope, learned, none, got 'rope2d'"),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps: expected 1e-05, got 1e-06"),
    ],
)
def test_settings_that_do_not_fit(folder: Path, settings: dict[str, object], message: str) -> None:
    given = {"arch": {**json.loads((GOLDEN / "trm_att.json").read_text())["config"], **settings}}
    (folder / "settings.json").write_text(json.dumps(given))
    check(folder, message, published_state("trm_att"), case=None, config=folder / "settings.json")


def test_an_hrm_of_two_depths_is_refused(folder: Path) -> None:
    state = {name: t for name, t in published_state("hrm").items() if "H_level.layers.1." not in name}
    check(folder, r"H_level.layers.1.self_attn.qkv_proj.weight': expected \(96, 32\), got none", state, case="hrm")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NAMES[:-1], rf"'{TABLE}': expected \(11, 64\) \(11 names in the identifiers\), got \(12, 64\)"),
        ([*NAMES[:-1], "a"], r"identifiers.json: \[11\]: expected every name once, got 'a' twice"),
        ([*NAMES[:-1], "\ud800"], r"identifiers.json: \[11\]: expected a puzzle's name"),
        ([*NAMES[:-1], 7], r"identifiers.json: \[11\]: expected a puzzle's name .*, got 7"),
        ({"a": 1}, "identifiers.json: expected a list of puzzle names"),
    ],
)
def test_identifiers_that_do_not_fit(folder: Path, names: object, message: str) -> None:
    (folder / IDENTIFIERS).write_text(json.dumps(names))
    check(folder, message, published_state("trm_att"), case=None, heads=4, row_tokens=4)


def test_code_is_refused_and_not_run(folder: Path) -> None:
    ran = folder / "ran"
    check(folder, rf"that asks for {os.name}.mkdir: refused, nothing was run", {"a": Code(ran)})
    (folder / "raw").write_bytes(pickle.dumps(Code(ran)))
    with pytest.raises(InputError, match=r"expected a whole file of torch.save .* got a file of another format"):
        import_command(folder / "raw", folder / IDENTIFIERS, folder.parent / "ours")
    assert not ran.exists()


def test_files_that_are_no_checkpoint(folder: Path) -> None:
    check(folder, "expected a state dict .*, got 5", 5)
    check(folder, r"expected a state dict .*, got 'model': dict", {"model": {"a": torch.ones(1)}})
    check(folder, r"expected a state dict .*, got 3: Tensor", {3: torch.ones(1)})
    check(folder, r"embed_tokens.*expected \(12, 64\), got none", {})
    torch.save(published_state("trm_att"), folder / "whole")
    data = (folder / "whole").read_bytes()
    for name, content in (("half", data[: len(data) // 2]), ("empty", b""), ("half.safetensors", b"\x08\0\0\0\0\0\0")):
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=r"expected a whole (file of torch.save|safetensors file)"):
            import_command(folder / name, folder / IDENTIFIERS, folder.parent / "ours")
    for path, got in ((folder, "a folder"), (folder / "nowhere", "none")):
        with pytest.raises(InputError, match=f"expected a checkpoint file, got {got}"):
            import_command(path, folder / IDENTIFIERS, folder.parent / "ours")


def test_inputs_are_not_overwritten(folder: Path) -> None:
    bring_in(folder, published_state("trm_att"))
    with pytest.raises(InputError, match=r"--out: expected another folder than that of the input .*step_1"):
        import_command(folder / "step_1", folder / IDENTIFIERS, folder)
    with pytest.raises(InputError, match=r"--out: expected another folder than that of the input .*config.json"):
        export_command(folder.parent / "ours", folder.parent / "ours" / "step_1")
    (folder / IDENTIFIERS).write_text('["<blank>"]')
    with pytest.raises(InputError, match=r"identifiers.json: expected nothing there yet, got a file"):
        export_command(folder.parent / "ours", folder / "step_2")
    assert (folder / IDENTIFIERS).read_text() == '["<blank>"]'
