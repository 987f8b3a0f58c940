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
DEFAULTS: dict[str, dict[str, Any]] = {
    "trm": {**_ALWAYS, "H_cycles": 3, "L_cycles": 4, "puzzle_emb_len": 16, "no_ACT_continue": True},
    "hrm": {**_ALWAYS, "H_cycles": 2, "L_cycles": 2, "puzzle_emb_len": 0},
}
"""The settings of the published ARC models that tensor shapes do not determine."""

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
_SWITCHES = ("mlp_t", "no_ACT_continue")
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
_PUBLISHED_NAMES, _PUBLISHED_NETWORKS, _PUBLISHED_LAYER_NAMES = (
    {ours: theirs for theirs, ours in names.items()} for names in (_NAMES, _NETWORKS, _LAYER_NAMES)
)


def bare_name(name: str) -> str:
    """The name of a published tensor without the prefixes that it has."""
    return name.removeprefix("_orig_mod.").removeprefix("model.").removeprefix("inner.")


def our_name(name: str) -> str:
    """Our name of a published tensor, with or without the prefixes `_orig_mod.` and `model.inner.`.

    Raises InputError for a name that the published models do not have.
    """
    translated = _translated(bare_name(name), _NAMES, _NETWORKS, _LAYER_NAMES)
    if translated is None:
        raise InputError(f"published checkpoint: no place for tensor {name!r}")
    return translated


def published_name(name: str) -> str:
    """The published name, without prefixes, of one of our tensors; the inverse of `our_name`.

    Raises InputError for a tensor that only our models have.
    """
    translated = _translated(name, _PUBLISHED_NAMES, _PUBLISHED_NETWORKS, _PUBLISHED_LAYER_NAMES)
    if translated is None:
        raise InputError(f"published checkpoint: no name for tensor {name!r}")
    return translated


def _translated(
    name: str, names: Mapping[str, str], networks: Mapping[str, str], layer_names: Mapping[str, str]
) -> str | None:
    """The name in the other convention, whole or as NETWORK.layers.NUMBER.PART.weight; None for an unknown name."""
    network, _, rest = name.partition(".layers.")
    index, _, part = rest.partition(".")
    part = part.removesuffix(".weight")
    if network in networks and index.isdigit() and part in layer_names:
        return f"{networks[network]}.layers.{index}.{layer_names[part]}.weight"
    return names.get(name)


def our_config(published: Mapping[str, Any], model: Literal["trm", "hrm"] = "trm") -> TRMConfig:
    """Our TRMConfig from published settings."""
    hrm = model == "hrm"
    same_depth = not hrm or published["H_layers"] == published["L_layers"]
    width, row_width = published["hidden_size"], published["puzzle_emb_ndim"]
    mixer: Literal["attention", "mlp"] = "mlp" if published.get("mlp_t", False) else "attention"
    return TRMConfig(
        vocabulary=published["vocab_size"],
        width=width,
        heads=published["num_heads"],
        layers=published["L_layers"],
        expansion=published["expansion"],
        cycles=published["H_cycles"],
        latent_updates=published["L_cycles"],
        networks=2 if hrm else 1,
        answer_layers=0 if same_depth else published["H_layers"],
        gradient="one_step" if hrm else "full",
        halting="q_learning" if hrm or not published.get("no_ACT_continue", True) else "binary",
        mixer=mixer,
        positions=published.get("pos_encodings", "none"),
        rope_theta=published.get("rope_theta", 10000.0),
        canvas=_canvas(published["seq_len"]),
        row_tokens=published.get("puzzle_emb_len") or math.ceil(row_width / width),
        row_width=row_width,
    )


def _canvas(tokens: int) -> tuple[int, int]:
    """The square canvas with `tokens` cells if there is one, else a single row."""
    side = math.isqrt(tokens)
    return (side, side) if side * side == tokens and side <= MAX_SIDE else (1, tokens)


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
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_heads": config.heads,
        "expansion": config.expansion,
        "H_layers": config.answer_depth if hrm else 0,
        "L_layers": config.layers,
        "H_cycles": config.cycles,
        "L_cycles": config.latent_updates,
        "mlp_t": config.mixer == "mlp",
        "pos_encodings": config.positions,
        "rope_theta": config.rope_theta,
        "seq_len": config.canvas[0] * config.canvas[1],
        "puzzle_emb_ndim": config.row_width,
        "puzzle_emb_len": config.row_tokens,
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
    settings = {**DEFAULTS[model], **_settings_of(shapes), **given}
    settings["H_layers"] = settings["H_layers"] if model == "hrm" else 0
    check_settings(settings, "published config")
    if not settings["puzzle_emb_ndim"] and "puzzle_emb_len" not in given:
        settings["puzzle_emb_len"] = 0
    leading = settings["puzzle_emb_len"] or math.ceil(settings["puzzle_emb_ndim"] / settings["hidden_size"])
    settings.setdefault("seq_len", max(1, settings.pop("tokens", leading + MAX_SIDE**2) - leading))
    return settings


def model_of(shapes: Mapping[str, Sequence[int]]) -> Literal["trm", "hrm"]:
    """The model to which tensors with these bare names belong: only the HRM has a separate network for the answer."""
    return "hrm" if any(name.startswith("H_level.") for name in shapes) else "trm"


def _settings_of(shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The settings that shapes determine, and "tokens", P + S, if one does. Missing tensors are not reported here."""

    def side(name: str, axis: int, otherwise: int) -> int:
        return shapes[name][axis] if len(shapes.get(name, ())) == 2 else otherwise

    mlp = any(".mlp_t." in name for name in shapes)
    low, high = ({name.split(".")[2] for name in shapes if name.startswith(f"{level}_level.layers.")} for level in "LH")
    width = side(EMBEDDING, 1, side("lm_head.weight", 1, 512))
    found: dict[str, Any] = {
        "vocab_size": side(EMBEDDING, 0, side("lm_head.weight", 0, 12)),
        "hidden_size": width,
        "L_layers": len(low) or 2,
        "H_layers": len(high) or len(low) or 2,
        "puzzle_emb_ndim": side(TABLE, 1, width),
        "mlp_t": mlp,
        "pos_encodings": "learned" if POSITIONS in shapes else "none" if mlp else "rope",
    }
    full = side("L_level.layers.0.mlp_t.down_proj.weight", 0, side(POSITIONS, 0, 0))
    return {**found, "tokens": full} if full else found


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Raise InputError, beginning with `where`, for an impossible value; unknown settings are ignored."""
    for name, value in settings.items():
        least, most = _COUNTS.get(name, (0, 0))
        if name in _COUNTS and not (type(value) is int and least <= value <= most):
            raise fault(f"{where}: {name}", f"a whole number {least}..{most}", value)
        if name in _NUMBERS and not (type(value) in (int, float) and 0 < value < math.inf):
            raise fault(f"{where}: {name}", "a positive number", value)
        if name in _SWITCHES and type(value) is not bool:
            raise fault(f"{where}: {name}", "true or false", value)
        if name == "pos_encodings" and value not in _POSITIONS:
            raise fault(f"{where}: {name}", f"one of {', '.join(_POSITIONS)}", value)
    if settings.get("rms_norm_eps", NORM_EPSILON) != NORM_EPSILON:
        raise fault(f"{where}: rms_norm_eps", f"{NORM_EPSILON:g}", settings["rms_norm_eps"])
