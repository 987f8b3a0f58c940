"""`make gpu-check` in a tiny form on the CPU, and the page that is drawn of what it finds."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch

from benchmarks import cli, gpu_check
from benchmarks.measure import Setup
from solver.common.checks import InputError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "docs" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROWS = {
    "train": {("canvas", "full"), ("canvas", "tight"), ("dtype", "float32"), ("width", 128)},
    "predict": {("canvas", "full"), ("canvas", "tight"), ("dtype", "float32"), ("width", 128)},
    "augment": {("twin", "numpy"), ("twin", "numba"), ("twin", "torch")},
    "tally": {("twin", "numba"), ("decoder", "robust"), ("decoder", "published")},
    "solve": {("stage", "encode"), ("stage", "predict"), ("stage", "count"), ("model", "published"), ("model", "ours")},
}


@pytest.mark.slow
def test_a_check_runs_tests_benchmarks_and_training(tmp_path: Path, script: ModuleType) -> None:
    assert gpu_check.command(tmp_path / "gpu.json", "cpu", tiny=True) == 0
    document = json.loads((tmp_path / "gpu.json").read_bytes())
    parts = document["parts"]
    assert [*parts] == ["tests", *get_args(cli.Bench), "training"]
    assert "passed" in parts["tests"]["result"]
    for bench, expected in ROWS.items():
        assert parts[bench]["cpu"] == torch.backends.cpu.get_cpu_capability()
        rows = parts[bench]["rows"]
        assert expected <= {item for row in rows for item in row.items() if isinstance(item[1], str | int)}
        for row in rows:
            assert row["device"] == "cpu"
            assert row["per_second"] > 0
            assert row["batch"] > 0
            assert row["bytes"] == 0, "nothing crosses on a CPU"
            assert row["launches"] > 0 or row["twin"] in ("numpy", "numba")
            assert bench not in ("train", "predict") or 0 < row["peak_share"] < 10
    curve = parts["training"]["curve"]
    assert 1 <= len(curve) <= gpu_check.CURVE_POINTS
    assert all(line["loss"] > 0 for line in curve)
    page = script.measured(document)
    for words in ("| cpu | full |", "encoding and counting", parts["tests"]["result"], f"| {curve[-1]['step']} |"):
        assert words in page, words


def test_what_fails_is_recorded_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(what: str, setup: Setup) -> dict[str, Any]:
        if what != "tally":
            raise RuntimeError("CUDA error:\nmisaligned address")
        return {"gemm_gflops": 1.0, "rows": [{"per_second": 1.0}]}

    outputs = iter(["FAILED tests/test_a.py::b[cuda]\n1 failed, 2 passed in 3s"])
    monkeypatch.setattr(gpu_check, "measured", fails)
    monkeypatch.setattr(gpu_check, "_run", lambda *given, **more: next(outputs))
    assert gpu_check.command(tmp_path / "gpu.json", "cpu") == 1
    document = json.loads((tmp_path / "gpu.json").read_bytes())
    page = script.measured(document)
    for words in ("misaligned address", "tests/test_a.py::b[cuda]", "## tally", "1 failed, 2 passed"):
        assert words in page, words
    assert "error" not in document["parts"]["tally"]
    assert "training: 0.0 s: StopIteration" in capsys.readouterr().out


def test_a_check_of_a_card_needs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="expected a CUDA card"):
        gpu_check.command(tmp_path / "gpu.json")
    assert not (tmp_path / "gpu.json").exists()


def test_what_a_command_prints_is_returned_and_its_failure_quoted() -> None:
    assert gpu_check._run(["-c", "print(7)"], 60.0) == "7\n"
    with pytest.raises(RuntimeError, match="exit code 3: reason"):
        gpu_check._run(["-c", "import sys; print('reason'); sys.exit(3)"], 60.0)


def test_the_page_is_what_the_script_draws(script: ModuleType) -> None:
    """If this fails after a deliberate change of the code: `make docs`."""
    assert script.page() == script.PAGE.read_text(encoding="utf-8")


def test_targets_are_shares_of_the_peak_that_the_maker_states(script: ModuleType) -> None:
    row = {"canvas": "tight", "width": 512, "flops": 1e11, "per_second": 3956.0}
    (found,) = script.targets("NVIDIA H100 80GB HBM3", {"train": {"rows": [row]}, "solve": {"error": "none"}})
    assert found[1:] == ("40%", "40.0%")
    for other in ("NVIDIA L40S", "NVIDIA RTX A6000", "cpu"):
        assert script.targets(other, {"train": {"rows": [row]}, "solve": {}}) == []
