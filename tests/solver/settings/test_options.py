"""Options: every one changes what it names and nothing else, and they travel to another process as JSON."""

import json
import typing
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import submission
from solver.model.weights import Knowledge, fresh_knowledge
from solver.settings.config import CanvasMode
from solver.settings.options import SolveOptions, weights_folder
from solver.settings.presets import PRESETS, configured, small_model

Embedding = Literal["variant", "per_cell"]
PLAIN = SolveOptions(preset="tiny")
CHANGES: list[tuple[str, Any, set[str]]] = [
    ("augmentations", 5, {"fit.augmentations", "predict.augmentations"}),
    ("canvas", "full", {"canvases.mode"}),
    ("fit_mode", "embeddings", {"fit.mode"}),
    ("fit_mode", "staged", {"fit.mode"}),
    ("fit_mode", "none", {"fit.mode"}),
    ("fit_known", True, {"fit.known"}),
    ("fit_together", 3, {"fit.together"}),
    ("fit_steps", 7, {"fit.steps"}),
    ("fit_steps", 0, {"fit.steps"}),
    ("least_steps", 0, {"least_steps"}),
    ("supervision_steps", 3, {"predict.supervision_steps"}),
    ("early_stop", False, {"predict.early_stop"}),
    ("decoder", "published", {"decoder"}),
]
SAME: list[tuple[str, Any]] = [  # named, but as in the preset
    ("canvas", "exact"),
    ("fit_mode", "full"),
    ("early_stop", True),
    ("decoder", "robust"),
    ("seed", 5),  # not of the configuration: the run is given it
    ("precision", "bfloat16"),
    ("preset", "auto"),
]


def flat(settings: dict[str, Any], before: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in settings.items():
        result |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return result


def changed(options: SolveOptions, **named: Any) -> dict[str, Any]:
    before, after = (flat(asdict(configured(each))) for each in (options, replace(options, **named)))
    return {name: after[name] for name in before if before[name] != after[name]}


def weights(embedding: Embedding, **manifest: Any) -> Knowledge:
    config = replace(small_model(32), embedding=embedding, halting="binary")
    return replace(fresh_knowledge(config, 0, torch.device("cpu")), manifest=manifest)


def in_words(value: object) -> str:
    """A part of a test's name: the same in every process, which the order of a set is not."""
    return "" if isinstance(value, set) else str(value)


@pytest.mark.parametrize(("name", "value", "places"), CHANGES, ids=in_words)
def test_every_option_changes_what_it_names_and_nothing_else(name: str, value: Any, places: set[str]) -> None:
    assert changed(PLAIN, **{name: value}) == dict.fromkeys(places, value)


@pytest.mark.parametrize(("name", "value"), SAME)
def test_the_preset_stays_where_it_is_named_again(name: str, value: Any) -> None:
    assert changed(PLAIN, **{name: value}) == {}


def test_all_options_are_tried_here() -> None:
    assert {name for name, *_ in (*CHANGES, *SAME)} == {field.name for field in fields(SolveOptions)}


@pytest.mark.parametrize("preset", list(PRESETS))
def test_without_options_the_preset_is_what_it_is(preset: Any) -> None:
    assert configured(SolveOptions(preset=preset)) == PRESETS[preset]()


def test_the_preset_that_nobody_names_suits_the_weights() -> None:
    assert configured(SolveOptions()).name == "tiny"
    assert configured(SolveOptions(), weights("variant").model.config).name == "published"
    assert configured(SolveOptions(), weights("per_cell").model.config).name == "mini"
    assert configured(SolveOptions(preset="tiny"), weights("variant").model.config).name == "tiny"


@pytest.mark.parametrize(
    ("embedding", "manifest", "mode"),
    [
        ("variant", {}, "full"),
        ("variant", {"canvas_mode": "tight"}, "tight"),
        ("per_cell", {}, "exact"),
        ("per_cell", {"canvas_mode": "full"}, "full"),
        ("variant", {"canvas_mode": ["tight"]}, "full"),
        ("per_cell", {"canvas_mode": "huge"}, "exact"),
    ],
)
@pytest.mark.parametrize("preset", ["auto", "mini", "published"])
def test_the_canvas_that_nobody_names_is_what_the_weights_were_trained_on(
    embedding: Embedding, manifest: dict[str, Any], mode: CanvasMode, preset: Any
) -> None:
    start = weights(embedding, **manifest)
    assert configured(SolveOptions(preset=preset), start.model.config, start.canvas_mode).canvases.mode == mode
    for canvas in get_args(CanvasMode):
        assert (
            configured(SolveOptions(preset=preset, canvas=canvas), start.model.config, start.canvas_mode).canvases.mode
            == canvas
        )


def choices(name: str) -> st.SearchStrategy[Any]:
    hint = typing.get_type_hints(SolveOptions)[name]
    if hint is bool:
        return st.booleans()
    literals = [value for part in (hint, *typing.get_args(hint)) for value in typing.get_args(part)]
    known = [value for value in (*literals, *typing.get_args(hint)) if isinstance(value, str)]
    optional = st.none() if type(None) in typing.get_args(hint) else st.nothing()
    return optional | (st.sampled_from(known) if known else st.integers(1, 2**40))


@given(st.fixed_dictionaries({field.name: choices(field.name) for field in fields(SolveOptions)}))
def test_options_reach_another_process_as_they_are(values: dict[str, Any]) -> None:
    options = SolveOptions(**values)
    received = SolveOptions(**json.loads(json.dumps(asdict(options))))
    assert received == options
    assert configured(received) == configured(options)


def test_the_word_shipped_names_the_weights_that_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights_folder("shipped") == Path(submission.__file__).parent / "weights" / "midi"
    assert weights_folder("runs/mine") == Path("runs/mine")
    (tmp_path / "shipped").mkdir()  # a folder of that name is meant before ours
    assert weights_folder("shipped") == Path("shipped")
