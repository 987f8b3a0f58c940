"""Published checkpoints made from the recorded models, and their way through the import command."""

import json
import shutil
from pathlib import Path

import torch
from torch import Tensor

from solver.model.weights import Knowledge, load_knowledge
from tests.golden.test_golden import Case
from train_offline.published.convert import IDENTIFIERS, import_command
from train_offline.published.names import PREFIX, bare_name

GOLDEN = Path(__file__).parents[3] / "tests" / "golden"
CPU = torch.device("cpu")
NAMES = ["<blank>", "a", "a|||t3|||0213456789", *(f"b|||t0|||{digits}" for digits in ("0132456789", "0143256789"))]
NAMES += ["ConceptARC Above 1", "é|||t7|||0987654321", *"cdefg"]  # 12 in all
State = dict[str, Tensor]


def published_folder(parent: Path) -> Path:
    """A published folder but for its checkpoint."""
    published = parent / "published"
    published.mkdir()
    (published / IDENTIFIERS).write_text(json.dumps(NAMES))
    return published


def published_state(case: str, prefix: str = PREFIX) -> State:
    return {prefix + bare_name(name): t for name, t in Case(GOLDEN / f"{case}.json").under("state/").items()}


def bring_in(folder: Path, state: object, case: str | None = "trm_att", **options: object) -> Knowledge:
    """Save a state dict, import it through the command, load what that wrote."""
    torch.save(state, folder / "step_1")
    shutil.rmtree(folder.parent / "ours", ignore_errors=True)  # an import replaces nothing
    if case:
        options["config"] = GOLDEN / f"{case}.json"
    import_command(folder / "step_1", folder / IDENTIFIERS, folder.parent / "ours", **options)  # type: ignore[arg-type]
    return load_knowledge(folder.parent / "ours", CPU)
