"""Weights as a folder: model.safetensors, config.json, puzzles.json (names of the table's rows) and manifest.json (what
they were trained on). The files hold data only; nothing is unpickled.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args, get_type_hints
from zlib import crc32

import numpy as np
import orjson
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from kernels.canvas import VOCABULARY
from kernels.symmetry import COLOURS, MAX_SIDE
from solver.common.checks import InputError, fault, shown
from solver.common.files import read_json, write_atomically, write_atomically_with
from solver.model.device import free_memory
from solver.model.trm import TRM
from solver.settings.config import CanvasMode, TRMConfig
from solver.tasks.task import Task
from solver.tokens.variants import Variants, parse_variant_name, task_of, variant_name

WEIGHTS, CONFIG, PUZZLES, MANIFEST = "model.safetensors", "config.json", "puzzles.json", "manifest.json"
TABLE = "puzzle_embedding"
TYPES = (torch.float32, torch.float16, torch.bfloat16)  # of weights in a file
DIGEST = "digest"  # of the tensors, in the metadata of a safetensors file
TRUNK = "trunk."

PUZZLES_BYTES = 2**28  # size limit of puzzles.json: several million rows


@dataclass
class Knowledge:
    """A trunk and a puzzle embedding table with named rows: the content of a checkpoint, and the start of a fit."""

    model: TRM
    table: Tensor  # (rows, W)
    rows: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (variant name, task digest) -> row
    manifest: Mapping[str, Any] = field(default_factory=dict)  # what it was trained on; empty if unknown

    @cached_property
    def names(self) -> Mapping[tuple[str, str], list[str]]:
        """The names with rows of their own by task id and digest, in table order."""
        names: dict[tuple[str, str], list[str]] = {}
        for name, digest in sorted(self.rows, key=self.rows.__getitem__):
            names.setdefault((task_of(name), digest), []).append(name)
        return names

    def known_variants(self, task: Task) -> tuple[Variants, np.ndarray]:
        """The variants of a task that have a row of their own, and those rows (K,): the identity first, then by row."""
        names = sorted(self.names.get((task.id, task.digest), []), key=lambda name: name != task.id)
        found = [(variant, name) for name in names if (variant := parse_variant_name(name))]
        symmetry = np.array([symmetry for (symmetry, _), _ in found], np.uint8)
        permutation = np.array([colours for (_, colours), _ in found], np.uint8).reshape(-1, COLOURS)
        rows = np.array([self.rows[name, task.digest] for _, name in found], np.int64)
        return Variants(symmetry, permutation), rows

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, as they are named in a file."""
        trunk = {TRUNK + name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        return {**trunk, TABLE: self.table.contiguous()}

    def knows(self, task: Task) -> bool:
        """Whether it has a puzzle embedding that was trained on the task's demonstrations."""
        return (task.id, task.digest) in self.rows

    @property
    def saw_test_outputs(self) -> bool:
        """Whether it was trained with the leak guard off, so that its scores are not on unseen outputs."""
        return bool(self.manifest.get("leaks_allowed"))

    @cached_property
    def trained_with_outputs(self) -> Set[str]:
        """Ids of the tasks that it was trained on with their test outputs, as far as the manifest says.

        Ids, since ARC-AGI-2 has 376 evaluation tasks of ARC-AGI-1 for training, none with the same demonstrations.
        """
        corpora = self.manifest.get("corpora")
        found = [c for c in corpora if isinstance(c, dict)] if isinstance(corpora, list) else []
        ids = [c.get("digests") for c in found if not c.get("demonstrations_only")]
        return {task_id for part in ids if isinstance(part, dict) for task_id in part}

    def saw_outputs_of(self, tasks: Iterable[Task]) -> bool:
        """Whether a score on some of these tasks may not be one on unseen outputs, as far as the manifest says."""
        return self.saw_test_outputs or any(task.id in self.trained_with_outputs for task in tasks)

    @property
    def canvas_mode(self) -> CanvasMode:
        """The canvas mode that it was trained in, from the manifest. In the other mode the weights are useless.

        Without an entry: full for weights with one row per variant, like published ones, otherwise exact.
        """
        mode, config = self.manifest.get("canvas_mode"), self.model.config
        if mode in get_args(CanvasMode):
            return cast(CanvasMode, mode)
        return "full" if config.embedding == "variant" or not config.any_canvas else "exact"


@dataclass
class Fitted:
    """A trunk fitted to the demonstrations of some tasks, and the puzzle embeddings of their variants."""

    model: TRM  # the moving average, in evaluation mode
    table: Tensor  # (rows, W)
    variants: list[Variants]  # per task
    rows: list[np.ndarray]  # per task: table rows (K,) of its variants


def name_rows(
    tasks: Sequence[tuple[str, str]], variants: Sequence[Variants], shared: bool
) -> tuple[list[tuple[str, str]], list[np.ndarray]]:
    """The names (variant name, digest) of the rows of a table, and the rows (K,) of each task's variants.

    `tasks` are ids and digests. With `shared` one row serves all variants of a task, otherwise each has its own.
    """
    names: list[tuple[str, str]] = []
    rows = []
    for (task_id, digest), of_task in zip(tasks, variants, strict=True):
        first = len(names)
        if shared:
            names.append((task_id, digest))
            rows.append(np.full(len(of_task), first))
        else:
            pairs = zip(of_task.symmetry, of_task.permutation, strict=True)
            names.extend((variant_name(task_id, s, p), digest) for s, p in pairs)
            rows.append(np.arange(first, len(names)))
    return names, rows


def fresh_knowledge(config: TRMConfig, seed: int, device: torch.device, kind: type[TRM] = TRM) -> Knowledge:
    """An untrained trunk and an empty table."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    return Knowledge(model.to(device).eval(), torch.zeros(0, config.row_width, device=device))


def save_knowledge(folder: str | Path, knowledge: Knowledge) -> None:
    """Write the files, each atomically, the weights last, so that they are never without their description."""
    folder = Path(folder)
    names = sorted(knowledge.rows, key=lambda name: knowledge.rows[name])
    write_atomically(folder / CONFIG, orjson.dumps(asdict(knowledge.model.config), option=orjson.OPT_INDENT_2))
    write_atomically(folder / PUZZLES, orjson.dumps(_runs(names)))
    write_atomically(folder / MANIFEST, orjson.dumps(knowledge.manifest, option=orjson.OPT_INDENT_2))
    write_tensors(folder / WEIGHTS, knowledge.tensors())


class Checked(NamedTuple):
    """The content of a weights folder that `check_weights` found nothing wrong with."""

    model: TRM  # on the meta device: it has no values
    tensors: dict[str, Tensor]  # of the model, memory-mapped
    table: Tensor  # memory-mapped
    rows: dict[tuple[str, str], int]
    manifest: dict[str, Any]


def check_weights(folder: str | Path, arc: bool = True) -> Checked:
    """Read and check a weights folder without building a model: settings, names, shapes, types and values.

    Weights of half precision, which are shipped so to be small, become float32.

    `arc`: the model must be one for ARC grids.

    Raises InputError that names the faulty file or tensor. The work is limited by the size of the files.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"weights {folder}: expected a folder with {WEIGHTS}, {CONFIG} and {PUZZLES}, got none")
    if not (folder / CONFIG).exists() and (folder / "checkpoints").is_dir():
        raise InputError(f"weights {folder}: expected a weights folder, got a run: give one of its checkpoints/step-…")
    config, tensors = _config(folder / CONFIG), read_tensors(folder / WEIGHTS)
    if config.layers + config.answer_depth > 2 * len(tensors):  # to lay out that many layers would take minutes
        raise fault(f"{folder / CONFIG}: layers", f"as many as {WEIGHTS} has", config.layers)
    try:
        with torch.device("meta"):
            model = TRM(config)
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:  # sizes beyond what torch can count
        raise InputError(f"{folder / CONFIG}: expected the settings of a model, got {shown(str(error))}") from None
    expected = {TRUNK + name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    rows = _rows(folder / PUZZLES)
    expected[TABLE] = len(rows), config.row_width
    for name in sorted(expected.keys() | tensors.keys(), key=lambda name: (name == TABLE, name)):
        _check_tensor(f"{folder / WEIGHTS}: tensor {shown(name)}", tensors.get(name), expected.get(name))
    tensors = {name: tensor.float() for name, tensor in tensors.items()}  # float32 stays mapped
    table = tensors.pop(TABLE)
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else {}
    if not isinstance(manifest, dict) or not isinstance(manifest.get("leaks_allowed", False), bool):
        raise InputError(f"{folder / MANIFEST}: expected what the weights were trained on, got {shown(manifest)}")
    if arc and config.vocabulary != VOCABULARY:
        raise InputError(f"weights {folder}: expected a model of ARC's {VOCABULARY} tokens, got {config.vocabulary}")
    if arc and config.canvas != (MAX_SIDE, MAX_SIDE):
        raise InputError(f"weights {folder}: expected a model of the canvas {MAX_SIDE}x{MAX_SIDE}, got {config.canvas}")
    trunk = {name.removeprefix(TRUNK): tensor for name, tensor in tensors.items()}
    return Checked(model, trunk, table, rows, manifest)


def _check_tensor(where: str, tensor: Tensor | None, shape: tuple[int, ...] | None) -> None:
    """Raise InputError unless a tensor has this shape, a type of TYPES and finite values. None: there is none."""
    got = None if tensor is None else tuple(tensor.shape)
    if tensor is None or got != shape:
        words = ("none" if sizes is None else str(sizes) for sizes in (shape, got))
        raise InputError(f"{where}: expected {next(words)}, got {next(words)}")
    if tensor.dtype not in TYPES:
        raise InputError(
            f"{where}: expected float32, float16 or bfloat16, got {str(tensor.dtype).removeprefix('torch.')}"
        )
    if tensor.numel() and not all(bound.isfinite() for bound in tensor.aminmax()):
        raise InputError(f"{where}: expected finite values, got some that are not")


def load_knowledge(folder: str | Path, device: torch.device, arc: bool = False) -> Knowledge:
    """Read a weights folder. Raises InputError as `check_weights` does, and if they do not fit into the memory."""
    model, tensors, table, rows, manifest = check_weights(folder, arc)
    copied = [*tensors.values(), *([] if device.type == "cpu" else [table])]  # on a CPU the table stays mapped
    needed, free = sum(tensor.nbytes for tensor in copied), free_memory(device)
    if needed > free:
        raise InputError(f"weights {folder}: expected {needed / 1e9:.3g} GB, got {free / 1e9:.3g} GB free on {device}")
    model.load_state_dict({name: tensor.clone() for name, tensor in tensors.items()}, assign=True)
    return Knowledge(model.to(device).eval(), table.to(device), rows, manifest)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, memory-mapped: pages are read when they are touched.

    Writing to them changes only this process's copy. Raises InputError for a missing or broken file, and for tensors
    that are not those that `write_tensors` wrote.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("a folder, device or pipe")  # to open a pipe would block
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get(DIGEST)
        tensors = load_file(path)
    except OSError as error:
        raise InputError(f"{path}: expected the weights, got {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: expected a whole safetensors file, got {shown(str(error))}") from None
    if written is not None and written != digest_of(tensors):
        raise InputError(f"{path}: expected the tensors that were written, got others: the file is damaged")
    return tensors


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """A digest of tensors on any device: their names, types, shapes and values. It notices damage, not malice."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous().cpu()
        values: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        checksum = crc32(values)  # much faster than a hash
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {checksum}\n".encode())
    return state.hexdigest()[:16]


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write contiguous tensors and their digest to a safetensors file, atomically and without a copy in memory."""

    def write(temporary: Path) -> None:
        try:
            save_file({name: tensor.cpu() for name, tensor in tensors.items()}, temporary, {DIGEST: digest_of(tensors)})
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_atomically_with(path, write, f"{len(tensors)} tensors")


def _config(path: Path) -> TRMConfig:
    """The settings in a file. Missing ones are newer than the file; their defaults are the behaviour at that time."""
    document, default = read_json(path), TRMConfig()
    if not isinstance(document, dict):
        raise fault(str(path), "an object with the model's settings", document)
    hints = get_type_hints(TRMConfig)
    unknown = sorted(document.keys() - hints.keys())
    if unknown:
        raise InputError(f"{path}: expected an object with {', '.join(hints)}, got {shown(unknown[0])}")
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in document.items()}
    for name, value in values.items():
        wanted, of = type(getattr(default, name)), f"{path}: {name}"
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise InputError(f"{of}: expected a {wanted.__name__}, got {shown(value)}")
        if wanted is str and value not in get_args(hints[name]):
            raise fault(of, f"one of {', '.join(get_args(hints[name]))}", value)
        if wanted is tuple and [type(side) for side in value] != [int, int]:
            raise fault(of, "a height and a width", value)
    return TRMConfig(**values)


def _runs(names: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The content of puzzles.json. Adjacent rows of one digest share an entry, which keeps a million rows small."""
    runs: list[dict[str, Any]] = []
    for digest, run in groupby(names, key=lambda name: name[1]):
        of_run = [name for name, _ in run]
        runs.append({"name": of_run[0], "digest": digest} if len(of_run) == 1 else {"names": of_run, "digest": digest})
    return runs


def _rows(path: Path) -> dict[tuple[str, str], int]:
    document = read_json(path, PUZZLES_BYTES)
    if not isinstance(document, list):
        raise InputError(f"{path}: expected a list of puzzles, got {shown(document)}")
    rows: dict[tuple[str, str], int] = {}
    for index, item in enumerate(document):
        names = item.get("names", [item.get("name")]) if isinstance(item, dict) else None
        if not isinstance(names, list) or not all(isinstance(text, str) for text in (*names, item.get("digest"))):
            raise InputError(f"{path}: [{index}]: expected a name and a digest, got {shown(item)}")
        for name in names:
            if (name, item["digest"]) in rows:
                raise InputError(f"{path}: [{index}]: expected every puzzle once, got {shown(name)} twice")
            rows[name, item["digest"]] = len(rows)
    return rows
