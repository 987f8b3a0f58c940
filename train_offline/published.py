"""The published checkpoints' names and settings, and ours.

Source: github.com/SamsungSAILMontreal/TinyRecursiveModels, commit e7b6871: the names only.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from kernels.canvas import MAX_SIDE
from solver.errors import InputError
from solver.models.trm import TRMConfig

TABLE = "puzzle_emb.weights"

_NAMES = {
    "H_init": "y0",
    "L_init": "z0",
    "embed_tokens.embedding_weight": "token_embedding",
    "embed_pos.embedding_weight": "position_embedding",
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


def our_name(name: str) -> str:
    """Our name of a published tensor, with or without its `_orig_mod.` and `model.inner.` prefixes.

    Raises InputError for a name that the published TRM does not have.
    """
    bare = name.removeprefix("_orig_mod.").removeprefix("model.").removeprefix("inner.")
    if bare in _NAMES:
        return _NAMES[bare]
    level, _, rest = bare.partition(".layers.")
    index, _, part = rest.partition(".")
    published = part.removesuffix(".weight")
    if level not in _NETWORKS or not index.isdigit() or published not in _LAYER_NAMES:
        raise InputError(f"published checkpoint: no place for tensor {name!r}")
    return f"{_NETWORKS[level]}.layers.{index}.{_LAYER_NAMES[published]}.weight"


def our_config(published: Mapping[str, Any], model: Literal["trm", "hrm"] = "trm") -> TRMConfig:
    """Our TRMConfig from the published config names. Raises InputError for an HRM whose networks differ in depth."""
    hrm = model == "hrm"
    if hrm and published["H_layers"] != published["L_layers"]:
        raise InputError(f"published config: expected H_layers equal to L_layers, got {published['H_layers']}")
    width, row_width = published["hidden_size"], published["puzzle_emb_ndim"]
    mixer = "mlp" if published.get("mlp_t", False) else "attention"
    return TRMConfig(
        vocabulary=published["vocab_size"],
        width=width,
        heads=published["num_heads"],
        layers=published["L_layers"],
        expansion=published["expansion"],
        cycles=published["H_cycles"],
        latent_updates=published["L_cycles"],
        networks=2 if hrm else 1,
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
    """The square canvas of that many cells where there is one, else a single row."""
    side = math.isqrt(tokens)
    return (side, side) if side * side == tokens and side <= MAX_SIDE else (1, tokens)


def our_state(published: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
    """Tensors under our names, and the puzzle embedding table (ids, W) where there is one."""
    state, table = {}, None
    for name, tensor in published.items():
        if name.endswith(TABLE):
            table = tensor
        else:
            state[our_name(name)] = tensor
    return state, table
