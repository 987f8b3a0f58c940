"""Translates tensor names and settings between the published checkpoints and ours.

Only the names come from github.com/SamsungSAILMontreal/TinyRecursiveModels, commit e7b6871.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

from torch import Tensor

from kernels.symmetry import MAX_SIDE
from solver.common.checks import InputError, fault
from solver.model.layers import NORM_EPSILON
from solver.settings.config import TRMConfig

PREFIX = "_orig_mod.model.inner."
"""Prefix of every name in a checkpoint; "_orig_mod." comes from torch.compile and may be absent."""

TABLE = "puzzle_emb.weights"
EMBEDDING, POSITIONS = "embed_tokens.embedding_weight", "embed_pos.embedding_weight"

_ALWAYS = {"expansion": 4.0, "num_heads": 8, "rope_theta": 10000.0, "rms_norm_eps": NORM_EPSILON}
# The settings of the published ARC models that tensor shapes do not determine.
DEFAULTS: dict[str, dict[str, Any]] = {
    "trm": {**_ALWAYS, "H_cycles": 3, "L_cycles": 4, "puzzle_emb_len": 16, "no_ACT_continue": True},
    "hrm": {**_ALWAYS, "H_cycles": 2, "L_cycles": 2, "puzzle_emb_len": 0},
}

_COUNTS = {  # setting -> least and greatest value; the upper bounds keep nonsense from exhausting memory
    "vocab_size": (1, 2**20),
    "hidden_size": (1, 2**16),
    "num_heads": (1, 2**12),
    "L_layers": (1, 2**10),
    "H_layers": (0, 2**10),
    "H_cycles": (1, 2**10),
    "L_cycles": (1, 2**10),
    "seq_len": (1, 2**20),
    "puzzle_emb_ndim": (0, 2**20),
    "puzzle_emb_len": (0, 2**12),
    "num_puzzle_identifiers": (0, 2**40),
}
_NUMBERS = ("expansion", "rope_theta", "rms_norm_eps")
_POSITIONS = ("rope", "learned", "none")

_NAMES = {
    "H_init": "y0",
    "L_init": "z0",
    EMBEDDING: "token_embedding",
    POSITIONS: "position_embedding",
    "lm_head.weight": "output_head.weight",
    "q_head.weight": "halting_weight",
    "q_head.bias": "halting_bias",
}
_NETWORKS = {"L_level": "network", "H_level": "answer_network"}
_LAYER_NAMES = {
    "self_attn.qkv_proj": "mixer.qkv",
    "self_attn.o_proj": "mixer.out",
    "mlp_t.gate_up_proj": "mixer.swiglu.gate_up",
    "mlp_t.down_proj": "mixer.swiglu.down",
    "mlp.gate_up_proj": "swiglu.gate_up",
    "mlp.down_proj": "swiglu.down",
}
_TO_OURS = (_NAMES, _NETWORKS, _LAYER_NAMES)
_TO_PUBLISHED = tuple({ours: theirs for theirs, ours in names.items()} for names in _TO_OURS)

_SETTINGS = {  # published -> ours, those that have the same values in both
    "vocab_size": "vocabulary",
    "hidden_size": "width",
    "num_heads": "heads",
    "expansion": "expansion",
    "L_layers": "layers",
    "H_cycles": "cycles",
    "L_cycles": "latent_updates",
    "pos_encodings": "positions",
    "rope_theta": "rope_theta",
    "puzzle_emb_ndim": "row_width",
    "puzzle_emb_len": "row_tokens",
}


def bare_name(name: str) -> str:
    """The name of a published tensor without the prefixes that it has."""
    return name.removeprefix("_orig_mod.").removeprefix("model.").removeprefix("inner.")


def our_name(name: str) -> str:
    """Our name of a published tensor, with or without prefixes. Raises InputError for a name that it cannot have."""
    return _translated(bare_name(name), _TO_OURS, f"no place for tensor {name!r}")


def published_name(name: str) -> str:
    """The published name, without prefixes, of one of our tensors. Raises InputError if only our models have it."""
    return _translated(name, _TO_PUBLISHED, f"no name for tensor {name!r}")


def _translated(name: str, tables: Sequence[Mapping[str, str]], otherwise: str) -> str:
    """The name in the other convention, looked up whole or as NETWORK.layers.NUMBER.PART.weight."""
    names, networks, layer_names = tables
    network, _, rest = name.partition(".layers.")
    index, _, part = rest.partition(".")
    part = part.removesuffix(".weight")
    if network in networks and index.isdigit() and part in layer_names:
        return f"{networks[network]}.layers.{index}.{layer_names[part]}.weight"
    if name not in names:
        raise InputError(f"published checkpoint: {otherwise}")
    return names[name]


def our_config(published: Mapping[str, Any], model: Literal["trm", "hrm"] = "trm") -> TRMConfig:
    """Our TRMConfig from published settings."""
    hrm, cells = model == "hrm", published["seq_len"]
    same_depth = not hrm or published["H_layers"] == published["L_layers"]
    given = {"pos_encodings": "none", "rope_theta": 10000.0, "puzzle_emb_len": 0, **published}
    same: dict[str, Any] = {ours: given[theirs] for theirs, ours in _SETTINGS.items()}
    same["row_tokens"] = same["row_tokens"] or math.ceil(same["row_width"] / same["width"])
    side = math.isqrt(cells)
    return TRMConfig(
        **same,
        networks=2 if hrm else 1,
        answer_layers=0 if same_depth else published["H_layers"],
        gradient="one_step" if hrm else "full",
        halting="q_learning" if hrm or not published.get("no_ACT_continue", True) else "binary",
        mixer="mlp" if published.get("mlp_t", False) else "attention",
        canvas=(side, side) if side * side == cells and side <= MAX_SIDE else (1, cells),
    )


def our_state(published: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
    """Tensors under our names, and the puzzle embedding table (ids, W) if there is one."""
    state, table = {}, None
    for name, tensor in published.items():
        if bare_name(name) == TABLE:
            table = tensor
        else:
            state[our_name(name)] = tensor
    return state, table


def published_config(config: TRMConfig) -> dict[str, Any]:
    """The published settings of one of our models. Raises InputError if the published code cannot build it."""
    hrm = config.networks == 2
    published = {
        **{theirs: getattr(config, ours) for theirs, ours in _SETTINGS.items()},
        "H_layers": config.answer_depth if hrm else 0,
        "mlp_t": config.mixer == "mlp",
        "seq_len": config.canvas[0] * config.canvas[1],
        "no_ACT_continue": config.halting == "binary",
    }
    check_settings(published, "published config")
    again = our_config(published, "hrm" if hrm else "trm")
    for name in (field.name for field in fields(TRMConfig)):
        if getattr(config, name) != getattr(again, name):
            raise fault(f"published config: {name}", str(getattr(again, name)), getattr(config, name))
    return published


def published_settings(shapes: Mapping[str, Sequence[int]], given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a checkpoint whose tensors, by bare name, have these shapes.

    In order of precedence: those `given`, those that the shapes determine, those of the published ARC models. Conflicts
    between shapes and given settings are not checked here. Raises InputError for an impossible value.
    """
    model = model_of(shapes)

    def side(name: str, axis: int, otherwise: int) -> int:  # missing tensors are not reported here
        return shapes[name][axis] if len(shapes.get(name, ())) == 2 else otherwise

    mlp = any(".mlp_t." in name for name in shapes)
    low, high = ({name.split(".")[2] for name in shapes if name.startswith(f"{level}_level.layers.")} for level in "LH")
    width = side(EMBEDDING, 1, side("lm_head.weight", 1, 512))
    settings: dict[str, Any] = {
        **DEFAULTS[model],
        "vocab_size": side(EMBEDDING, 0, side("lm_head.weight", 0, 12)),
        "hidden_size": width,
        "L_layers": len(low) or 2,
        "H_layers": len(high) or len(low) or 2,
        "puzzle_emb_ndim": side(TABLE, 1, width),
        "mlp_t": mlp,
        "pos_encodings": "learned" if POSITIONS in shapes else "none" if mlp else "rope",
        **given,
    }
    settings["H_layers"] = settings["H_layers"] if model == "hrm" else 0
    check_settings(settings, "published config")
    if not settings["puzzle_emb_ndim"] and "puzzle_emb_len" not in given:
        settings["puzzle_emb_len"] = 0
    leading = settings["puzzle_emb_len"] or math.ceil(settings["puzzle_emb_ndim"] / settings["hidden_size"])
    tokens = side("L_level.layers.0.mlp_t.down_proj.weight", 0, side(POSITIONS, 0, 0)) or leading + MAX_SIDE**2
    settings.setdefault("seq_len", max(1, tokens - leading))
    return settings


def model_of(shapes: Mapping[str, Sequence[int]]) -> Literal["trm", "hrm"]:
    """The model to which tensors with these bare names belong: only the HRM has a separate network for the answer."""
    return "hrm" if any(name.startswith("H_level.") for name in shapes) else "trm"


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Raise InputError, beginning with `where`, for an impossible value; unknown settings are ignored."""
    for name, value in settings.items():
        least, most = _COUNTS.get(name, (0, 0))
        if name in _COUNTS and not (type(value) is int and least <= value <= most):
            raise fault(f"{where}: {name}", f"a whole number {least}..{most}", value)
        if name in _NUMBERS and not (type(value) in (int, float) and 0 < value < math.inf):
            raise fault(f"{where}: {name}", "a positive number", value)
        if name in ("mlp_t", "no_ACT_continue") and type(value) is not bool:
            raise fault(f"{where}: {name}", "true or false", value)
        if name == "pos_encodings" and value not in _POSITIONS:
            raise fault(f"{where}: {name}", f"one of {', '.join(_POSITIONS)}", value)
    if settings.get("rms_norm_eps", NORM_EPSILON) != NORM_EPSILON:
        raise fault(f"{where}: rms_norm_eps", f"{NORM_EPSILON:g}", settings["rms_norm_eps"])
