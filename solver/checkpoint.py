"""Weights travel as a folder: model.safetensors, config.json, puzzles.json. Data only, nothing is ever unpickled."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from solver.checks import shown
from solver.errors import InputError
from solver.files import read_json, write_atomically
from solver.fit import Knowledge
from solver.models.trm import TRM, TRMConfig

WEIGHTS, CONFIG, PUZZLES = "model.safetensors", "config.json", "puzzles.json"
TABLE = "puzzle_embedding"
TRUNK = "trunk."


def save_knowledge(folder: str | Path, knowledge: Knowledge) -> None:
    """Write the three files, each atomically; the weights last, so that they are never newer than their description."""
    folder = Path(folder)
    tensors = {TRUNK + name: tensor.contiguous() for name, tensor in knowledge.model.state_dict().items()}
    tensors[TABLE] = knowledge.table.contiguous()
    names = sorted(knowledge.rows, key=lambda name: knowledge.rows[name])
    write_atomically(folder / CONFIG, orjson.dumps(asdict(knowledge.model.config), option=orjson.OPT_INDENT_2))
    write_atomically(folder / PUZZLES, orjson.dumps([{"name": name, "digest": digest} for name, digest in names]))
    write_atomically(folder / WEIGHTS, save({name: tensor.cpu() for name, tensor in tensors.items()}))


def load_knowledge(folder: str | Path, device: torch.device) -> Knowledge:
    """The trunk, table and names in a folder. Raises InputError: which file or tensor, expected, got."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"weights {folder}: expected a folder with {WEIGHTS}, {CONFIG} and {PUZZLES}, got none")
    model = TRM(_config(folder / CONFIG))
    tensors = _tensors(folder / WEIGHTS)
    table = tensors.pop(TABLE, None)
    expected = {TRUNK + name: tensor for name, tensor in model.state_dict().items()}
    for name in sorted(expected.keys() | tensors.keys()):
        wanted, got = (_shape(found.get(name)) for found in (expected, tensors))
        if wanted != got:
            raise InputError(f"{folder / WEIGHTS}: tensor {shown(name)}: expected {wanted}, got {got}")
    rows = _rows(folder / PUZZLES)
    width = model.config.row_width
    if table is None or table.shape[1:] != (width,) or len(table) != len(rows):
        raise InputError(f"{folder / WEIGHTS}: tensor {TABLE!r}: expected ({len(rows)}, {width}), got {_shape(table)}")
    model.load_state_dict({name.removeprefix(TRUNK): tensor for name, tensor in tensors.items()})
    return Knowledge(model.to(device).eval(), table.to(device), rows)


def _shape(tensor: torch.Tensor | None) -> str:
    return "none" if tensor is None else str(tuple(tensor.shape))


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: expected the weights, got {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: expected a whole safetensors file, got {shown(str(error))}") from None


def _config(path: Path) -> TRMConfig:
    document = read_json(path)
    known = {field.name: field for field in fields(TRMConfig)}
    if not isinstance(document, dict) or document.keys() != known.keys():
        raise InputError(f"{path}: expected an object with {', '.join(known)}, got {shown(document)}")
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in document.items()}
    default = TRMConfig()
    for name, value in values.items():
        wanted = type(getattr(default, name))
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise InputError(f"{path}: {name}: expected a {wanted.__name__}, got {shown(value)}")
    return TRMConfig(**values)


def _rows(path: Path) -> dict[tuple[str, str], int]:
    document = read_json(path)
    if not isinstance(document, list):
        raise InputError(f"{path}: expected a list of puzzles, got {shown(document)}")
    rows: dict[tuple[str, str], int] = {}
    for index, item in enumerate(document):
        if not isinstance(item, dict) or not all(isinstance(item.get(key), str) for key in ("name", "digest")):
            raise InputError(f"{path}: [{index}]: expected a name and a digest, got {shown(item)}")
        rows[item["name"], item["digest"]] = index
    return rows
