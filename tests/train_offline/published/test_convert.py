"""Published checkpoints come in, predict what they did, and go out as they came; others are refused in one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import tyro
from safetensors.torch import load_file
from torch import Tensor

from solver.common.checks import InputError
from solver.fit import choose_variants, starting_table
from solver.model.trm import TRM, Condition
from solver.model.weights import PUZZLES, WEIGHTS, Knowledge, load_knowledge, save_knowledge
from solver.settings.config import FitConfig, TRMConfig
from solver.tasks.load import load_tasks
from tests.golden.test_golden import Case, as_recorded
from tests.solver.samples import config as sample_config
from tests.train_offline.published.published_samples import (
    CPU,
    GOLDEN,
    NAMES,
    bring_in,
    published_folder,
    published_state,
)
from train_offline.published.convert import (
    IDENTIFIERS,
    SETTINGS,
    digests_of,
    export_command,
    export_published,
    import_command,
    import_published,
)
from train_offline.published.names import (
    PREFIX,
    bare_name,
    our_config,
    our_name,
    published_config,
    published_name,
    published_settings,
)

CASES = ["trm_att", "trm_mlp", "trm_learned_pos", "hrm"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return published_folder(tmp_path)


def first_logits(knowledge: Knowledge, case: Case) -> Tensor:
    batch, canvas = case.batch("eval/batch/"), knowledge.model.config.canvas
    condition = Condition(knowledge.table[batch.ids], batch.symmetry)
    with torch.no_grad():
        x = knowledge.model.embed(batch.inputs, condition, canvas)
        return knowledge.model(x, knowledge.model.fresh_state(len(batch.ids), canvas), canvas).logits


@pytest.mark.parametrize("prefix", [PREFIX, "model.inner.", ""])
@pytest.mark.parametrize("case", CASES)
def test_an_imported_model_predicts_what_was_recorded(folder: Path, case: str, prefix: str) -> None:
    recorded = Case(GOLDEN / f"{case}.json")
    knowledge = bring_in(folder, published_state(case, prefix), case)
    assert list(knowledge.rows) == [(name, "") for name in NAMES]
    assert knowledge.model.config == our_config(recorded.meta["config"], recorded.meta["model"])
    with as_recorded():
        logits = first_logits(knowledge, recorded)
    torch.testing.assert_close(logits, recorded.tensors["eval/step1/logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["step_9", "model.safetensors"])
@pytest.mark.parametrize("case", CASES)
def test_what_goes_out_is_what_came_in(folder: Path, case: str, name: str) -> None:
    state = published_state(case)
    knowledge = bring_in(folder, state, case)
    out = folder.parent / "again" / name
    export_command(folder.parent / "ours", out)
    again = load_file(out) if name.endswith(".safetensors") else torch.load(out, weights_only=True)
    assert again.keys() == state.keys()
    for tensor in state:
        assert torch.equal(again[tensor], state[tensor]), tensor
    assert json.loads((out.parent / IDENTIFIERS).read_text()) == NAMES
    with pytest.raises(InputError, match="expected nothing there yet, got a file: choose another --out"):
        export_command(folder.parent / "ours", out)
    options = {"config": out.parent / SETTINGS}
    import_command(out, out.parent / IDENTIFIERS, folder.parent / "twice", **options)  # type: ignore[arg-type]
    assert load_knowledge(folder.parent / "twice", CPU).model.config == knowledge.model.config
    with pytest.raises(InputError, match=r"config.json: expected nothing there yet"):
        import_command(out, out.parent / IDENTIFIERS, folder.parent / "twice", **options)  # type: ignore[arg-type]
    for file in (WEIGHTS, PUZZLES):
        assert (folder.parent / "twice" / file).read_bytes() == (folder.parent / "ours" / file).read_bytes()


def test_names_go_both_ways() -> None:
    for case in CASES:
        for name in (bare_name(name) for name in published_state(case) if not name.endswith("puzzle_emb.weights")):
            assert published_name(our_name(PREFIX + name)) == name


@pytest.mark.parametrize(
    ("case", "options"),
    [
        ("trm_att", {"heads": 4, "cycles": 2, "latent_updates": 3, "row_tokens": 4, "cells": 49}),
        ("trm_mlp", {"heads": 4, "cycles": 2, "latent_updates": 3, "row_tokens": 4, "positions": "none"}),
        ("trm_learned_pos", {"heads": 2, "cycles": 2, "latent_updates": 3, "row_tokens": 2}),
        ("hrm", {"heads": 2, "cells": 25}),
    ],
)
def test_shapes_and_options_tell_what_a_config_file_does(folder: Path, case: str, options: dict[str, object]) -> None:
    by_config = bring_in(folder, published_state(case), case).model.config
    assert bring_in(folder, published_state(case), None, **options).model.config == by_config


def test_options_change_single_settings_of_the_file(folder: Path) -> None:
    changed = {"rope_theta": 100.0, "positions": "none", "halting": "q_learning", "expansion": 3.0}
    config = bring_in(folder, published_state("trm_att"), **changed).model.config
    assert (config.rope_theta, config.positions, config.halting) == (100.0, "none", "q_learning")
    assert config.expansion == 3.0
    assert config.heads == 4
    changed = {"positions": "rope", "halting": "binary"}
    config = bring_in(folder, published_state("trm_att"), **changed).model.config
    assert (config.positions, config.halting) == ("rope", "binary")


def test_the_published_arc_model_needs_no_settings() -> None:
    with torch.device("meta"):
        shapes = {published_name(name): tensor.shape for name, tensor in TRM(TRMConfig()).state_dict().items()}
    assert our_config(published_settings({**shapes, "puzzle_emb.weights": (9, 512)}, {})) == TRMConfig()


def test_a_model_without_a_puzzle_embedding_comes_and_goes(folder: Path) -> None:
    state = {name: t for name, t in published_state("trm_att").items() if "puzzle_emb" not in name}
    (folder / "bare.json").write_text('{"puzzle_emb_ndim": 0, "num_heads": 4, "seq_len": 49}')
    knowledge = bring_in(folder, state, None, config=folder / "bare.json")
    assert knowledge.table.shape == (12, 0)
    assert knowledge.model.config.puzzle_tokens == 0
    export_published(knowledge, folder.parent / "again" / "step")
    assert torch.load(folder.parent / "again" / "step", weights_only=True).keys() == state.keys()


def test_an_hrm_of_two_depths_keeps_both(folder: Path) -> None:
    """The golden HRM with one layer less in the network of the answer."""
    state = {name: t for name, t in published_state("hrm").items() if ".H_level.layers.1." not in name}
    config = bring_in(folder, state, case=None, heads=2, cells=25).model.config
    assert (config.layers, config.answer_depth) == (2, 1)
    assert published_config(config)["H_layers"] == 1


def test_bfloat16_is_widened(folder: Path) -> None:
    state = {name: tensor.bfloat16() for name, tensor in published_state("trm_att").items()}
    knowledge = bring_in(folder, state)
    assert knowledge.table.dtype == torch.float32
    assert torch.equal(knowledge.table, state[PREFIX + "puzzle_emb.weights"].float())
    assert torch.equal(knowledge.model.output_head.weight, state[PREFIX + "lm_head.weight"].float())


def test_tensors_that_share_memory_or_lie_transposed(folder: Path) -> None:
    state = published_state("trm_att")
    both = torch.stack([state[PREFIX + "H_init"], state[PREFIX + "L_init"]])
    state[PREFIX + "H_init"], state[PREFIX + "L_init"] = both
    state[PREFIX + "puzzle_emb.weights"] = state[PREFIX + "puzzle_emb.weights"].t().contiguous().t()
    knowledge = bring_in(folder, state)
    assert torch.equal(knowledge.model.z0, both[1])
    assert torch.equal(knowledge.table, state[PREFIX + "puzzle_emb.weights"])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux shows what is mapped")
def test_the_table_is_mapped_and_not_read(folder: Path) -> None:
    """A million rows are two gigabytes: neither the import nor a later load may hold them twice."""
    bring_in(folder, published_state("trm_att"))
    given = {"num_heads": 4, "seq_len": 49, "puzzle_emb_len": 4}
    imported = import_published(folder / "step_1", folder / IDENTIFIERS, given)
    loaded = load_knowledge(folder.parent / "ours", CPU)
    for knowledge, name in ((imported, "step_1"), (loaded, WEIGHTS)):
        lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(name)]
        ranges = [[int(end, 16) for end in line[0].split("-")] for line in lines]
        assert any(first <= knowledge.table.data_ptr() < last for first, last in ranges), name


def tasks_file(path: Path, colour: int) -> str:
    pair = {"input": [[1, 2]], "output": [[colour]]}
    path.write_text(json.dumps({name: {"train": [pair], "test": [{"input": [[1]]}]} for name in ("a", "b")}))
    return str(path)


def test_tasks_give_digests_and_solve_takes_their_rows_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tasks_file(folder / "tasks.json", 3)
    state = published_state("trm_att")
    state[PREFIX + "puzzle_emb.weights"] = torch.arange(12.0)[:, None].expand(12, 64).contiguous()
    knowledge = bring_in(folder, state, tasks=(source, source))
    assert "4 names of 2 tasks" in capsys.readouterr().out
    tasks = load_tasks(source)
    assert [name for name, digest in knowledge.rows if digest == tasks[0].digest] == NAMES[1:5]
    variants = choose_variants(tasks[:1], knowledge, FitConfig(augmentations=8), seed=0)
    table, *_ = starting_table(tasks[:1], variants, knowledge)
    assert table[:, 0].tolist() == [1.0, 2.0] + [5.5] * 6  # its two rows, then the mean of all twelve
    other = load_tasks(tasks_file(folder / "other.json", 4))
    table, *_ = starting_table(other[:1], variants, knowledge)
    assert table[:, 0].tolist() == [5.5] * 8, "the name of another task"
    with pytest.raises(InputError, match=r"other.json: task 'a': expected the demonstrations of the source before"):
        digests_of([source, str(folder / "other.json")])


def test_models_of_our_own_are_exported_as_far_as_they_can_be_published(tmp_path: Path) -> None:
    shared = TRM(replace(sample_config().model, positions="rope"))
    with pytest.raises(InputError, match="embedding: expected variant, got 'per_cell'"):
        export_published(Knowledge(shared, torch.zeros(0, 16)), tmp_path / "step")
    ours = replace(shared.config, embedding="variant")
    for change, message in (
        ({"positions": "rope2d"}, "pos_encodings: expected one of rope, learned, none, got 'rope2d'"),
        ({"latents": 1}, "latents: expected 2, got 1"),
        ({"canvas": (5, 7)}, r"canvas: expected \(1, 35\), got \(5, 7\)"),
    ):
        with pytest.raises(InputError, match=message):
            export_published(Knowledge(TRM(replace(ours, **change)), torch.zeros(0, 16)), tmp_path / "step")
    twice = Knowledge(TRM(ours), torch.zeros(2, 16), {("a", "x"): 0, ("a", "y"): 1})
    with pytest.raises(InputError, match=r"puzzles: \[1\]: expected every name once, got 'a' twice"):
        export_published(twice, tmp_path / "step")
    assert not [*tmp_path.iterdir()]
    model = TRM(ours)
    save_knowledge(tmp_path / "ours", Knowledge(model, torch.ones(1, 16), {("a", "x"): 0}))
    export_command(tmp_path / "ours", tmp_path / "again" / "step")
    import_command(
        tmp_path / "again" / "step",
        tmp_path / "again" / IDENTIFIERS,
        tmp_path / "twice",
        config=tmp_path / "again" / SETTINGS,
    )
    again = load_knowledge(tmp_path / "twice", CPU)
    assert again.model.config == ours
    assert torch.equal(again.model.network.layers[0].mixer.qkv.weight, model.network.layers[0].mixer.qkv.weight)


def test_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(published_state("trm_att"), folder / "step_1")
    ours, again = str(folder.parent / "ours"), str(folder.parent / "again" / "step_2")
    sources = [f"--tasks={tasks_file(folder / name, 3)}" for name in ("tasks.json", "more.json")]
    commands = {"import-published": import_command, "export-published": export_command}
    words = ["import-published", str(folder / "step_1"), "--identifiers", str(folder / IDENTIFIERS), "--out", ours]
    settings = ["--config", str(GOLDEN / "trm_att.json"), "--halting", "q_learning"]
    assert tyro.extras.subcommand_cli_from_dict(commands, args=[*words, *settings, *sources]) == 0
    assert load_knowledge(ours, CPU).model.config.halting == "q_learning"
    assert tyro.extras.subcommand_cli_from_dict(commands, args=["export-published", ours, "--out", again]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{ours}: 12 rows of 64",
        "model: heads 4, cycles 2, latent_updates 3, row_tokens 4, canvas (7, 7), positions rope; "
        "settings beyond shapes are from options, --config or the published ARC model",
        "4 names of 2 tasks from --tasks: `solve` uses their embeddings",
        "8 other names: kept, but no task is matched to them",
        f"{again}: 12 rows of 64, with identifiers.json and all_config.json",
    ]
