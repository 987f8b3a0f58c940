"""Curves: a panel for each figure that is there, and one clear line where there is none."""

import json
from pathlib import Path

import pytest

from solver.__main__ import main
from solver.common.checks import InputError
from train_offline.metrics import _points, _smoothed, draw_curves

pytestmark = pytest.mark.slow


def run(folder: Path, group: str = "evaluation", name: str = "pass@2") -> Path:
    folder.mkdir()
    train = [{"step": s, "group": "train", "token_loss": 1 / s, "exact": s / 9, "seconds": 6.0 * s} for s in (1, 2, 3)]
    lines = [*train, {"step": 3, "group": group, name: 0.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
@pytest.mark.parametrize("over", ["step", "seconds"])
def test_curves_are_drawn(tmp_path: Path, suffix: str, magic: bytes, over: str) -> None:
    runs = [str(run(tmp_path / name)) for name in ("a", "b")]
    out = tmp_path / f"curve{suffix}"
    assert main(["curve", *runs, "--out", str(out), "--over", over]) == 0
    assert out.read_bytes().startswith(magic)


def test_panels_are_those_of_the_figures_that_are_there(tmp_path: Path) -> None:
    out = tmp_path / "curve.svg"
    sizes = []
    for name in ("pass@2", "exact", "nothing we draw"):
        draw_curves([run(tmp_path / name, name=name)], out)
        sizes.append(float(out.read_text().split('width="')[1].split("pt")[0]))
    assert sizes == pytest.approx([3 * 324, 3 * 324, 2 * 324])


def test_scores_of_runs_without_the_leak_guard_say_so(tmp_path: Path) -> None:
    out, folder = tmp_path / "curve.svg", run(tmp_path / "a")
    draw_curves([folder], out)
    assert "leaks allowed" not in out.read_text()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "group": "evaluation", "pass@2": 1.0, "leaks_allowed": true}\n')
    draw_curves([folder], out)
    assert "leaks allowed" in out.read_text()


def test_points_and_smoothing() -> None:
    metrics = [
        {"step": 5, "group": "train", "seconds": 90.0, "exact": 0.1},
        {"step": 5, "group": "evaluation", "exact": 1},
    ]
    assert _points(metrics, "exact", "train", "step") == ([5], [0.1])
    assert _points(metrics, "exact", "evaluation", "seconds") == ([1.5], [1])
    assert _smoothed([1.0, 3.0]) == [1.0, 3.0]
    assert _smoothed([float(k) for k in range(40)])[-1] == 38.5


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a run's folder with metrics.jsonl in it, got none"):
        draw_curves([tmp_path], tmp_path / "x.png")
