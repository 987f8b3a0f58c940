"""`arc-trm package`: what is in a package, what Kaggle reads of it, and that no user's file is ever lost."""

import configparser
import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from solver.__main__ import main
from solver.common.checks import InputError
from solver.model.weights import fresh_knowledge, save_knowledge
from submission.package.build import (
    FORMAT,
    MADE_BY,
    PACKAGE,
    Settings,
    make_package,
    read_package,
    refuse_to_replace,
    wheels,
)
from tests.solver.samples import config
from tests.solver.tiny_tasks import refusal

ROOT = Path(__file__).parents[3]


def package(out: Path, **settings: Any) -> Path:
    make_package(out, Settings(**{"wheels": False, **settings}))
    return out


def document(path: Path) -> dict[str, Any]:
    loaded = json.loads(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "step-00000001"
    save_knowledge(folder, fresh_knowledge(config().model, 0, torch.device("cpu")))
    (folder / "training.safetensors").write_bytes(b"gigabytes that only resuming needs")
    return folder


def test_a_package_has_what_kaggle_reads(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "package"
    given = ["--weights", str(weights), "--user", "Ada", "--title", "My ARC", "--competition", "arc-prize-2026"]
    assert main(["package", "--out", str(out), "--no-wheels", "--machine-shape", "NvidiaTeslaT4", *given]) == 0
    assert {path.name for path in out.iterdir()} == {"code", "weights", "notebook", "package.json"}
    kernel = document(out / "notebook" / "kernel-metadata.json")
    assert (kernel["id"], kernel["title"]) == ("Ada/my-arc-submission", "My ARC submission")
    assert kernel["id"].split("/")[1] == kernel["title"].lower().replace(" ", "-")
    assert kernel["dataset_sources"] == ["Ada/my-arc-code", "Ada/my-arc-weights"]
    assert kernel["competition_sources"] == ["arc-prize-2026"]
    assert kernel["machine_shape"] == "NvidiaTeslaT4"
    assert (kernel["enable_gpu"], kernel["enable_internet"], kernel["is_private"]) == (True, False, True)
    assert (out / "notebook" / kernel["code_file"]).is_file()
    for part in ("code", "weights"):
        about = document(out / part / "dataset-metadata.json")
        assert about["id"] in kernel["dataset_sources"]
        assert 6 <= len(about["title"]) <= 50
        assert about["licenses"] == [{"name": "other"}]
    printed = capsys.readouterr().out
    assert "kaggle datasets create" in printed
    assert f"kaggle kernels push -p {out / 'notebook'}" in printed
    assert "--user" not in printed, "the hint is for who has given none"


def test_code_is_sources_alone_and_weights_are_the_four_files(tmp_path: Path, weights: Path) -> None:
    out = package(tmp_path / "package", weights=weights)
    assert (out / "code" / "LICENSE").is_file()
    assert (out / "code" / "solver" / "model" / "trm.py").is_file()
    suffixes = {path.suffix for path in (out / "code").rglob("*") if path.is_file()}
    assert suffixes == {".py", ".css", ".html", ".js", ".json", ""}
    assert (out / "code" / "solver" / "report" / "page.css").is_file()
    assert not list(out.rglob("__pycache__"))
    assert not (out / "code" / "tests").exists()
    files = {path.name for path in (out / "weights").iterdir()}
    assert files == {"model.safetensors", "config.json", "puzzles.json", "manifest.json", "dataset-metadata.json"}


def test_a_machine_without_gpu(tmp_path: Path) -> None:
    kernel = document(package(tmp_path / "p", machine_shape="cpu") / "notebook" / "kernel-metadata.json")
    assert kernel["enable_gpu"] is False
    assert "machine_shape" not in kernel


def test_nothing_of_the_user_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    assert "package.json" in refusal(lambda: package(tmp_path / "full"))
    assert "got a file" in refusal(lambda: package(tmp_path / "file"))
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(("name", "what"), [("notebook/submission.ipynb", "changed"), ("code/mine.py", "new")])
def test_a_package_is_replaced_only_as_it_was_left(tmp_path: Path, name: str, what: str) -> None:
    out = package(tmp_path / "package")
    (out / "code" / "LICENSE").unlink()  # what is gone is no loss
    refuse_to_replace(out)
    (out / name).write_text("mine")
    assert f"got a {what} {name}" in refusal(lambda: package(out))
    assert (out / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize("name", ["image", "python", "competition", "datasets", "files"])
def test_a_description_without_a_part_is_refused(tmp_path: Path, name: str) -> None:
    about = {"image": "bare", "python": "3.12", "competition": "arc", "datasets": {}, "files": {}}
    del about[name]
    (tmp_path / PACKAGE).write_text(json.dumps({"made_by": MADE_BY, "format": FORMAT, **about}))
    assert f"{name}: expected what arc-trm package wrote, got None" in refusal(lambda: read_package(tmp_path))


def test_packaged_again_and_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    out = package(tmp_path / "package", user="ada")
    package(out, user="grace")
    assert read_package(out)["datasets"]["code"] == "grace/arc-trm-code"
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_no_half_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = package(tmp_path / "package", user="ada")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("submission.package.build.shutil.copytree", fail)
    assert "No space left" in refusal(lambda: package(out, user="grace"))
    assert read_package(out)["datasets"]["code"] == "ada/arc-trm-code"
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize(
    "options",
    [
        ["--user", "a/b"],
        ["--user", ""],
        ["--competition", "../x"],
        ["--title", "two  spaces"],
        ["--title", "x" * 40],
        ["--machine-shape", "a b"],
        ["--python-version", "three"],
        ["--weights", "/nowhere"],
        ["--lacks", "no-such-package", "--wheels"],
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["package", "--out", str(tmp_path / "p"), "--no-wheels", *options]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert "expected" in message
    assert "got" in message
    assert not list(tmp_path.iterdir())


def test_what_is_needed_is_what_setup_says() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = setup["options"]["install_requires"].split()
    assert sorted(Requirement(line).name for line in required) == list(wheels.NEEDED)


def test_the_lock_has_all_that_is_needed_and_not_what_the_image_has() -> None:
    bare, kaggle = wheels.lock("bare"), wheels.lock("kaggle")
    assert bare.keys() >= {*wheels.NEEDED, "llvmlite", "typing-extensions"}
    assert kaggle.keys() >= {"orjson", "safetensors", "tyro"}
    assert not kaggle.keys() & {"torch", "numpy", "numba", "llvmlite", "tqdm", "typing-extensions", "sympy"}
    assert kaggle.items() <= bare.items()
    assert bare["torch"] == torch.__version__, "the local part of the version too"
    assert wheels.lock("kaggle", ["tqdm"]).keys() == {"tqdm"}


def test_markers_are_those_of_the_image() -> None:
    assert "tomli" not in wheels.closure(["pytest"], "3.12")
    assert "colorama" not in wheels.closure(["tqdm"])
    assert wheels.closure(["pytest"], "3.12").keys() >= {"pluggy", "iniconfig"}


@pytest.mark.slow
def test_a_wheel_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    (tmp_path / wheels.LOCK).write_text("orjson==0.0.0.1\n")
    message = refusal(lambda: wheels.download(tmp_path))
    assert "orjson" in message
    assert "No matching distribution" in message


def test_wheels_of_the_lock_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that pip gets; pip itself is run by the package check."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> Any:
        commands.append(command)
        return type("Done", (), {"returncode": 0, "stdout": ""})()

    monkeypatch.setattr("submission.package.wheels.subprocess.run", run)
    given = {"lacks": ("tqdm",), "python_version": "3.12", "platform": ("manylinux2014_x86_64", "any")}
    out = package(tmp_path / "package", wheels=True, **given)
    assert (out / "wheels" / wheels.LOCK).read_text() == f"tqdm=={metadata.version('tqdm')}\n"
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "3.12", "manylinux2014_x86_64", "any"} <= set(commands[0])
    kernel = document(out / "notebook" / "kernel-metadata.json")
    assert kernel["dataset_sources"][-1].endswith("-wheels")
    assert read_package(out)["python"] == "3.12"
    package(tmp_path / "default", wheels=True)
    assert {"3.12", "manylinux2014_x86_64", "manylinux_2_28_x86_64"} <= set(commands[1]), "the image of 2026"
    pinned = (tmp_path / "default" / "wheels" / wheels.LOCK).read_text()
    assert "orjson==" in pinned
    assert not {"torch", "numpy", "numba"} & {line.split("==")[0] for line in pinned.splitlines()}
    about = read_package(tmp_path / "default")
    assert (about["image"], about["python"], about["competition"]) == (
        "kaggle-2026",
        "3.12",
        "arc-prize-2026-arc-agi-2",
    )


def test_without_packaging_or_pip_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (tmp_path / wheels.LOCK).write_text("orjson==1\n")
    assert "no word from pip" in refusal(lambda: wheels.download(tmp_path))
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    with pytest.raises(InputError, match="pip install packaging"):
        wheels.closure(["tqdm"])
