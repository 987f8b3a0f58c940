"""Checkpoints: what is saved comes back; what is not a checkpoint is refused in one line."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from solver.common.checks import InputError
from solver.model.weights import CONFIG, PUZZLES, WEIGHTS, Knowledge, fresh_knowledge, load_knowledge, save_knowledge
from tests.solver.samples import MIRROR, config

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = fresh_knowledge(config().model, 0, CPU).model
    rows = {("b", "digest"): 1, (MIRROR.id, MIRROR.digest): 0}
    save_knowledge(tmp_path, Knowledge(model, torch.arange(32.0).view(2, 16), rows))
    return tmp_path


def test_what_is_saved_comes_back(folder: Path, device: torch.device) -> None:
    loaded = load_knowledge(folder, device)
    fresh = fresh_knowledge(config().model, 0, CPU)
    assert loaded.model.config == fresh.model.config
    assert loaded.rows == {(MIRROR.id, MIRROR.digest): 0, ("b", "digest"): 1}
    assert loaded.table.tolist() == torch.arange(32.0).view(2, 16).tolist()
    for name, tensor in fresh.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name].cpu(), tensor)


def change_json(path: Path, **changes: object) -> None:
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **changes}))


def truncate(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def change_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    tensors = {**load_file(folder / WEIGHTS), **{name.replace("__", "."): t for name, t in changes.items()}}
    save_file({name: t for name, t in tensors.items() if t is not None}, folder / WEIGHTS)


def flip(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-3] ^= 1  # the lowest bits of a number
    (folder / WEIGHTS).write_bytes(data)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "expected the weights, got No such file"),
    "truncated": (truncate, "expected a whole safetensors file"),
    "pickle": (lambda f: (f / WEIGHTS).write_bytes(b"\x80\x04K\x01."), "expected a whole safetensors file"),
    "another vocabulary": (
        lambda f: change_json(f / CONFIG, vocabulary=11),
        r"tensor 'trunk.output_head.weight': expected \(11, 16\), got \(12, 16\)",
    ),
    "missing tensor": (lambda f: change_tensors(f, trunk__y0=None), r"'trunk.y0': expected \(16,\), got none"),
    "surplus tensor": (lambda f: change_tensors(f, other=torch.ones(1)), r"'other': expected none, got \(1,\)"),
    "no table": (lambda f: change_tensors(f, puzzle_embedding=None), r"expected \(2, 16\), got none"),
    "rows without names": (lambda f: (f / PUZZLES).write_text("[]"), r"expected \(0, 16\), got \(2, 16\)"),
    "names of numbers": (lambda f: (f / PUZZLES).write_text('[{"name": 1}]'), "expected a name and a digest"),
    "a name twice": (
        lambda f: (f / PUZZLES).write_text('[{"names": ["a", "a"], "digest": ""}]'),
        r"\[0\]: expected every puzzle once, got 'a' twice",
    ),
    "names that are none": (
        lambda f: (f / PUZZLES).write_text('[{"names": 1, "digest": ""}]'),
        "expected a name and a",
    ),
    "no names": (lambda f: (f / PUZZLES).write_text("{}"), "expected a list of puzzles"),
    "unknown setting": (
        lambda f: change_json(f / CONFIG, colour=1),
        "expected an object with vocabulary.*got 'colour'",
    ),
    "unknown choice": (
        lambda f: change_json(f / CONFIG, mixer="wave"),
        "mixer: expected one of attention, mlp, mamba2_hybrid, got 'wave'",
    ),
    "half a canvas": (lambda f: change_json(f / CONFIG, canvas=[30]), "canvas: expected a height and a width"),
    "no settings": (lambda f: (f / CONFIG).write_text("[]"), "expected an object with the model's settings"),
    "wrong type": (lambda f: change_json(f / CONFIG, width="16"), "width: expected a int, got"),
    "impossible shape": (lambda f: change_json(f / CONFIG, heads=5), "even multiple of its 5 heads"),
    "odd heads": (lambda f: change_json(f / CONFIG, head_size=3), "head_size: expected an even size"),
    "mamba": (
        lambda f: change_json(f / CONFIG, mixer="mamba2_hybrid", heads=5, head_size=2),
        "multiple of its 5 heads",
    ),
    "not a number": (lambda f: change_tensors(f, trunk__y0=torch.full((16,), math.nan)), "expected finite values"),
    "infinite": (lambda f: change_tensors(f, puzzle_embedding=torch.full((2, 16), math.inf)), "expected finite values"),
    **{
        f"a table of {kind}": (
            lambda f, kind=kind: change_tensors(f, puzzle_embedding=torch.ones(2, 16, dtype=kind)),
            f"'puzzle_embedding': expected float32, float16 or bfloat16, got {str(kind)[6:]}",
        )
        for kind in (torch.float64, torch.int64, torch.uint8, torch.bool)
    },
    "a pipe": (lambda f: (f / WEIGHTS).unlink() or os.mkfifo(f / WEIGHTS), "got a folder, device or pipe"),
    "a flipped bit": (flip, "expected the tensors that were written, got others: the file is damaged"),
    **{
        f"endless work: {name} {size:.3g}": (
            lambda f, name=name, size=size, more=more: change_json(f / CONFIG, **{name: size, **more}),
            r"model: .*at most 65536|expected the settings|tensor .*: expected \(|layers: expected as many as",
        )
        for name, size, more in (
            ("width", 65536, {"row_width": 65536}),
            ("width", 16384, {"row_width": 16384}),
            ("width", 10**18, {}),
            ("convolution", 10**9, {}),
            ("convolution", 60000, {}),
            ("vocabulary", 2**40, {}),
            ("layers", 10**9, {}),
            ("layers", 60000, {}),
            ("expansion", 1e300, {}),
            ("inner_multiple", 10**18, {}),
            ("cycles", 10**9, {}),
            ("latent_updates", 60000, {}),
            ("row_tokens", 10**9, {}),
        )
    },
    "learned places": (
        lambda f: change_json(f / CONFIG, canvas=[100000, 100000], positions="learned"),
        "canvas: expected at most 65536",
    ),
    "not JSON": (lambda f: (f / CONFIG).write_text("{"), "expected JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_get_one_line(folder: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_knowledge(folder, CPU)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value) or "model:" in str(caught.value)


def test_weights_that_do_not_fit_get_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solver.model.weights.free_memory", lambda device: 10.0)
    with pytest.raises(InputError, match=r"^weights .*: expected .* GB, got 1e-08 GB free on cpu$"):
        load_knowledge(folder, torch.device("cpu"))


def test_names_that_share_a_digest_are_written_once_for_all(folder: Path) -> None:
    knowledge = load_knowledge(folder, CPU)
    names = [("<blank>", ""), ("a", "1"), ("a|||t3|||0213456789", "1"), ("b", "2"), ("a|||t1|||0123456789", "1")]
    knowledge.rows = {name: row for row, name in reversed([*enumerate(names)])}
    knowledge.table = torch.zeros(5, 16)
    save_knowledge(folder, knowledge)
    assert orjson.loads((folder / PUZZLES).read_bytes()) == [
        {"name": "<blank>", "digest": ""},
        {"names": ["a", "a|||t3|||0213456789"], "digest": "1"},
        {"name": "b", "digest": "2"},
        {"name": "a|||t1|||0123456789", "digest": "1"},
    ]
    assert load_knowledge(folder, CPU).rows == knowledge.rows


def test_settings_newer_than_the_file_are_the_default(folder: Path) -> None:
    settings = orjson.loads((folder / CONFIG).read_bytes())
    for name in ("networks", "latents", "gradient", "halting"):  # of the first version there were none
        del settings[name]
    (folder / CONFIG).write_bytes(orjson.dumps(settings))
    assert load_knowledge(folder, CPU).model.config == config().model


def test_weights_in_use_can_be_replaced_and_changed(folder: Path) -> None:
    """The table is mapped: neither what is written to it nor a newer file may reach the other."""
    loaded = load_knowledge(folder, CPU)
    loaded.table.zero_()
    assert load_knowledge(folder, CPU).table[1, 15] == 31
    loaded = load_knowledge(folder, CPU)
    save_knowledge(folder, Knowledge(loaded.model, torch.ones(2, 16), loaded.rows))
    assert loaded.table[1, 15] == 31
    assert load_knowledge(folder, CPU).table[1, 15] == 1
    assert (folder / WEIGHTS).stat().st_mode == (folder / CONFIG).stat().st_mode


@pytest.mark.parametrize(
    "error", [SafetensorError("No space left"), OSError("No space left"), RuntimeError("No space left")]
)
def test_a_disk_that_is_full_leaves_the_weights_as_they_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(tensors: object, path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise error

    knowledge, files = load_knowledge(folder, CPU), sorted(folder.iterdir())
    before = (folder / WEIGHTS).read_bytes()
    monkeypatch.setattr("solver.model.weights.save_file", fail)
    with pytest.raises(InputError, match=rf"{WEIGHTS}: expected to write \d+ tensors, got: No space left"):
        save_knowledge(folder, knowledge)
    assert (folder / WEIGHTS).read_bytes() == before
    assert sorted(folder.iterdir()) == files
