"""Converts published checkpoints to weights folders and back: `arc-trm import-published`, `export-published`.

A published checkpoint is a state dict written by torch.save, with an identifiers.json that names the rows of its puzzle
embedding table. The table can be gigabytes, so it is memory-mapped and never held twice.
"""

import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import torch
import tyro
from torch import Tensor

from solver.common.checks import InputError, fault, one_line, shown
from solver.common.files import file_name, read_json, write_atomically, write_atomically_with
from solver.model.trm import TRM
from solver.model.weights import CONFIG, WEIGHTS, Knowledge, load_knowledge, read_tensors, save_knowledge, write_tensors
from solver.tasks.load import load_tasks
from solver.tokens.variants import task_of
from train_offline.published.hub import fetched
from train_offline.published.identifiers import rebuild_identifiers
from train_offline.published.names import (
    PREFIX,
    TABLE,
    bare_name,
    check_settings,
    model_of,
    our_config,
    our_state,
    published_config,
    published_name,
    published_settings,
)

IDENTIFIERS, SETTINGS = "identifiers.json", "all_config.json"
SAFETENSORS = ".safetensors"
UNKNOWN = ""  # digest of a name whose task was not given: no task has it, so the row is never looked up

_NAME_SHOWN = 120  # characters of a tensor name in a message; the longest published name has 72
_PRINTED = ("heads", "cycles", "latent_updates", "row_tokens", "canvas", "positions")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def import_published(
    checkpoint: Path,
    identifiers: Path | Sequence[str],
    given: Mapping[str, Any] | None = None,
    digests: Mapping[str, str] | None = None,
) -> Knowledge:
    """The trunk, table and names of a published checkpoint, in float32.

    `identifiers` names the rows of the table, or the file that does. `given` holds published settings that tensor
    shapes do not determine; `digests` the digests of tasks by id (`digests_of`). A float32 table is memory-mapped.
    Raises InputError with the file or tensor at fault.
    """
    names = read_identifiers(identifiers) if isinstance(identifiers, Path) else identifiers
    tensors = _read_checkpoint(checkpoint)
    bare: dict[str, tuple[str, Tensor]] = {}  # bare name -> name in the file, tensor
    for name, tensor in tensors.items():
        where = f"{file_name(checkpoint)}: tensor {_called(name)}"
        if tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
            wanted = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
            raise InputError(f"{where}: expected one of {wanted}, got {tensor.dtype} ({tensor.layout})")
        first, _ = bare.setdefault(bare_name(name), (name, tensor))
        if first != name:
            raise InputError(f"{where}: expected every tensor once, got it as {_called(first)} as well")
    shapes = {name: tensor.shape for name, (_, tensor) in bare.items()}
    settings = published_settings(shapes, given or {})
    with torch.device("meta"):  # shapes only
        model = TRM(our_config(settings, model_of(shapes)))
    expected = {published_name(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if model.config.row_width:
        expected[TABLE] = (len(names), model.config.row_width)
    longest = max((name for name, _ in bare.values()), key=len, default=PREFIX)
    prefix = longest.removesuffix(bare_name(longest))  # of this file, to name the tensors that it lacks
    for key in (*expected, *sorted(bare.keys() - expected.keys())):  # tensors that are missing, different or unexpected
        name, found = bare.get(key, (prefix + key, None))
        right, shape = expected.get(key), None if found is None else tuple(found.shape)
        if right != shape:
            why = f" ({right[0]} names in the identifiers)" if key == TABLE and right else ""
            words = f"expected {'none' if right is None else right}{why}, got {'none' if shape is None else shape}"
            raise InputError(f"{file_name(checkpoint)}: tensor {_called(name)}: {words}")
    rows = settings.get("num_puzzle_identifiers", len(names))
    if rows != len(names):
        where = file_name(identifiers) if isinstance(identifiers, Path) else "identifiers"
        raise InputError(f"{where}: expected {rows} names (num_puzzle_identifiers), got {len(names)}")
    state, table = our_state(tensors)
    model.to_empty(device="cpu").load_state_dict(state)
    table = torch.zeros(len(names), 0) if table is None else table.float()  # float() does not copy float32
    known = digests or {}
    keys = ((name, known.get(task_of(name), UNKNOWN)) for name in names)
    return Knowledge(model.eval(), table, {key: row for row, key in enumerate(keys)})


def find_identifiers(
    checkpoint: Path, given: Path | None, published_data: Path | None
) -> tuple[Path | list[str], dict[str, str]]:
    """The names of a checkpoint's rows, or the file that has them; and the digests of their tasks, if known.

    The first of these that exists: the file that is given, identifiers.json beside the checkpoint, the list rebuilt
    from the task files of the published repository, which also gives the digests. Raises InputError if there is none.
    """
    beside = checkpoint.parent / IDENTIFIERS
    if given or beside.exists():
        return given or beside, {}
    if published_data is None:
        wanted = f"--identifiers, {IDENTIFIERS} beside the checkpoint, or --published-data to rebuild it from"
        raise InputError(f"{file_name(checkpoint)}: expected {wanted}, got none")
    table = next((t for name, t in _read_checkpoint(checkpoint).items() if bare_name(name) == TABLE), None)
    names, tasks = rebuild_identifiers(published_data, 0 if table is None else len(table))
    return names, {task.id: task.digest for task in tasks}


def digests_of(sources: Iterable[str]) -> dict[str, str]:
    """Digests of the demonstrations by task id, from sources of `load_tasks`.

    Raises InputError if two sources have different demonstrations under one id, as only one of them was trained on.
    """
    digests: dict[str, str] = {}
    for source in sources:
        for task in load_tasks(source):
            if digests.setdefault(task.id, task.digest) != task.digest:
                where = f"{file_name(source)}: task {shown(task.id)}"
                raise InputError(
                    f"{where}: expected the demonstrations of the source before, got others: give only one"
                )
    return digests


def read_identifiers(path: Path) -> list[str]:
    """The names of the table's rows, in order. Raises InputError unless all are printable and distinct."""
    names, where = read_json(path, most=2**28), file_name(path)
    if not isinstance(names, list):
        raise fault(where, "a list of puzzle names", names)
    for index, name in enumerate(names):
        if not isinstance(name, str) or not name.isprintable() or not name:
            raise fault(f"{where}: [{index}]", "a puzzle's name (a non-empty string of printable characters)", name)
    _refuse_twice(names, where)
    return names


def read_settings(path: Path) -> dict[str, Any]:
    """Published settings from a JSON object, or from its entry "arch" or "config". Raises InputError."""
    document = read_json(path)
    if isinstance(document, dict):
        document = next((document[key] for key in ("arch", "config") if key in document), document)
    if not isinstance(document, dict):
        raise fault(file_name(path), "an object with the published settings, such as hidden_size", document)
    check_settings(document, file_name(path))
    return document


def _refuse_twice(names: Sequence[str], where: str) -> None:
    if len(set(names)) < len(names):
        first = {name: index for index, name in reversed(list(enumerate(names)))}
        index = next(index for index, name in enumerate(names) if first[name] != index)
        raise InputError(f"{where}: [{index}]: expected every name once, got {shown(names[index])} twice")


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, memory-mapped. `weights_only` refuses anything but plain data, so no code runs."""
    where = file_name(path)
    if not path.is_file():
        raise InputError(f"{where}: expected a checkpoint file, got {'a folder' if path.is_dir() else 'none'}")
    if path.suffix == SAFETENSORS:
        return read_tensors(path)
    try:
        state = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"one that asks for {asked[1]}" if asked else "another pickle"
        raise InputError(
            f"{where}: expected a state dict of tensors only, got {what}: refused, nothing was run"
        ) from None
    except OSError as error:
        raise InputError(f"{where}: expected a readable checkpoint, got: {error.strerror or error}") from None
    except Exception as error:  # torch raises almost any error for other bytes
        foreign = isinstance(error, RuntimeError) and "mmap can only be used" in str(error)
        got = "a file of another format" if foreign else one_line(str(error).partition("\n")[0])[:_NAME_SHOWN]
        raise InputError(f"{where}: expected a whole file of torch.save (its zip format), got {got}") from None
    if not isinstance(state, dict):
        raise fault(where, "a state dict (tensors by name)", state)
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            got = f"{_called(name)}: {type(tensor).__name__}"
            raise InputError(f"{where}: expected a state dict (tensors by name), got {got}")
    return state


def _called(name: object) -> str:
    """A tensor's name in a message: whole, where shown() would leave out the middle."""
    return repr(one_line(name)[:_NAME_SHOWN]) if isinstance(name, str) else shown(name)


def export_published(knowledge: Knowledge, out: Path) -> None:
    """Write a model as a published checkpoint, with identifiers.json and all_config.json next to it.

    The file is a safetensors file if its name says so, else one of torch.save. Raises InputError, before anything is
    written, for a model that the published code cannot build.
    """
    settings = published_config(knowledge.model.config)
    names = [name for name, _ in sorted(knowledge.rows, key=lambda key: knowledge.rows[key])]
    _refuse_twice(names, "puzzles")
    state = {PREFIX + published_name(name): tensor.cpu() for name, tensor in knowledge.model.state_dict().items()}
    if knowledge.model.config.row_width:
        state[PREFIX + TABLE] = knowledge.table.cpu().contiguous()
    write_atomically(out.parent / IDENTIFIERS, orjson.dumps(names))
    write_atomically(out.parent / SETTINGS, orjson.dumps({"arch": settings}, option=orjson.OPT_INDENT_2))
    if out.suffix == SAFETENSORS:
        write_tensors(out, state)
    else:
        write_atomically_with(out, lambda temporary: torch.save(state, temporary), f"{len(state)} tensors")


def import_command(
    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")],
    identifiers: Path | None = None,
    out: Path = Path("weights/published"),
    published_data: Path | None = None,
    config: Path | None = None,
    tasks: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    heads: int | None = None,
    expansion: float | None = None,
    cycles: int | None = None,
    latent_updates: int | None = None,
    row_tokens: int | None = None,
    cells: int | None = None,
    positions: Literal["rope", "learned", "none"] | None = None,
    rope_theta: float | None = None,
    halting: Literal["binary", "q_learning"] | None = None,
) -> int:
    """Convert a published checkpoint (TRM or HRM) to a folder for --weights. Only tensors are unpickled.

    Most settings follow from the shapes of the tensors. The others come from the options, then from --config, then from
    the published ARC models. If a shape contradicts them, the error names the tensor.

    Args:
        checkpoint: A state dict of torch.save, names with or without _orig_mod., or the same as .safetensors. Or
            hub:OWNER/NAME/FILE, which is downloaded from the model hub.
        identifiers: The list of puzzle names that belongs to it, one per row of the puzzle embedding table. By default
            identifiers.json beside the checkpoint.
        out: The folder to write; not that of the checkpoint.
        published_data: Without such a list: the folder kaggle/combined of the published repository, from which the
            lists of its ARC runs are rebuilt. It also replaces --tasks.
        config: Published settings as JSON: the "arch" section of all_config.yaml.
        tasks: The tasks it was trained on, a source as for `arc-trm solve`; repeat for more. Names of other tasks are
            kept and exported again, but `solve` does not use their embeddings.
        heads: Attention heads.
        expansion: Expansion of the SwiGLU.
        cycles: T in the paper, H_cycles in the published settings.
        latent_updates: n in the paper, L_cycles in the published settings.
        row_tokens: Puzzle tokens, puzzle_emb_len in the published settings.
        cells: Cells of the canvas, seq_len in the published settings.
        positions: Position encoding.
        rope_theta: Base of the rotary positions.
        halting: How the halting head of a TRM was trained; that of an HRM always by q_learning.
    """
    options: dict[str, Any] = {
        "num_heads": heads,
        "expansion": expansion,
        "H_cycles": cycles,
        "L_cycles": latent_updates,
        "puzzle_emb_len": row_tokens,
        "seq_len": cells,
        "pos_encodings": positions,
        "rope_theta": rope_theta,
        "no_ACT_continue": None if halting is None else halting == "binary",
    }
    checkpoint = fetched(checkpoint)
    _refuse(out, [checkpoint, identifiers, config], [out / CONFIG, out / WEIGHTS])
    names, rebuilt = find_identifiers(checkpoint, identifiers, published_data)
    given = {**(read_settings(config) if config else {}), **{k: v for k, v in options.items() if v is not None}}
    digests = digests_of(tasks) or rebuilt
    knowledge = import_published(checkpoint, names, given, digests)
    save_knowledge(out, knowledge)
    print(f"{out}: {len(knowledge.rows)} rows of {knowledge.model.config.row_width}")
    known = sum(digest != UNKNOWN for _, digest in knowledge.rows)
    shown_settings = ", ".join(f"{name} {getattr(knowledge.model.config, name)}" for name in _PRINTED)
    print(f"model: {shown_settings}; settings beyond shapes are from options, --config or the published ARC model")
    if not isinstance(names, Path):
        print(f"names: rebuilt from {file_name(published_data or '')} in the order of the published build script")
    source = "--tasks" if tasks else "--published-data"
    uses = f"{known} names of {len(digests)} tasks from {source}: `solve` uses their embeddings"
    print(uses if digests else "no --tasks: `solve` will use no embedding")
    print(f"{len(knowledge.rows) - known} other names: kept, but no task is matched to them")
    return 0


def export_command(weights: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="WEIGHTS")], out: Path) -> int:
    """Convert a weights folder to a checkpoint that the published code loads.

    Writes OUT, and next to it identifiers.json, the names of the table's rows, and all_config.json with the "arch"
    section of the published all_config.yaml. Only for models that the published code can build, so without a shared
    puzzle embedding.

    Args:
        weights: Folder of a trained model.
        out: The checkpoint: a state dict of torch.save, or of safetensors if its name ends in .safetensors.
    """
    _refuse(out.parent, [weights / CONFIG], [out, out.parent / IDENTIFIERS, out.parent / SETTINGS])
    knowledge = load_knowledge(weights, torch.device("cpu"))
    export_published(knowledge, out)
    print(f"{out}: {len(knowledge.rows)} rows of {knowledge.model.config.row_width}, with {IDENTIFIERS} and {SETTINGS}")
    return 0


def _refuse(out: Path, inputs: Sequence[Path | None], outputs: Sequence[Path]) -> None:
    """Raise InputError if one of the inputs lies in the folder `out`, or if one of the outputs exists."""
    for path in inputs:
        if path is not None and path.resolve().parent == out.resolve():
            raise InputError(f"--out: expected another folder than that of the input {file_name(path)}, got {out}")
    for path in outputs:
        if path.exists():
            raise InputError(f"{file_name(path)}: expected nothing there yet, got a file: choose another --out")
