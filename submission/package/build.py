"""`arc-trm package`: everything that a Kaggle submission needs, as folders that the `kaggle` command uploads.

code/ (sources), weights/ (a weights folder) and wheels/ (pinned packages that the image lacks) are datasets. notebook/
has the notebook and its settings. package.json describes the package and has a digest of every file: an existing folder
is replaced only if it is an unchanged package.
"""

import hashlib
import os
import platform as machine
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import tyro

import solver
from solver.common.checks import InputError, fault, one_line
from solver.common.files import read_json, write_atomically
from solver.model.weights import CONFIG, MANIFEST, PUZZLES, WEIGHTS, check_weights
from solver.settings.options import WeightsFolder
from submission.notebook import LOCK
from submission.package import wheels

ROOT = Path(solver.__file__).parent.parent
SOURCES = ("kernels", "solver", "submission", "train_offline", "benchmarks")
SUFFIXES = (".py", ".css", ".html", ".js")  # of sources; css, html and js are the report's
NOTEBOOK = "notebooks/submission.ipynb"
PACKAGE, FORMAT, MADE_BY = "package.json", 1, "arc-trm package"
NOBODY = "your-kaggle-name"
LONGEST, SHORTEST = 50, 6  # characters of a title on Kaggle
LICENCE = [{"name": "other"}]  # Kaggle's list lacks MIT-0, so the description names it
NO_GPU = "cpu"


@dataclass(frozen=True)
class Settings:
    """The options of `arc-trm package`."""

    weights: WeightsFolder | None = None
    """Folder of a trained model, or shipped; without it the notebook fits a small network from scratch."""
    user: str = NOBODY
    """Your name on Kaggle, part of every id."""
    title: str = "arc-trm"
    """The titles of the datasets and of the notebook begin with it."""
    competition: str = "arc-prize-2026-arc-agi-2"
    """The competition's slug, which changes every season."""
    machine_shape: str = "NvidiaL4"
    """Kaggle's name of the machine: NvidiaL4, NvidiaTeslaT4, NvidiaTeslaP100, or cpu."""
    image: Literal["kaggle-2026", "kaggle", "bare"] = "kaggle-2026"
    """The installed packages: the Kaggle images have torch, numba, numpy, tqdm and their dependencies, which are used
    as they are. kaggle-2026 gets wheels for Python 3.12 on Linux, the others for this machine. bare has no packages,
    for `python -m submission.package.check`."""
    lacks: tuple[str, ...] | None = None
    """Pack exactly these packages, whatever --image says."""
    python_version: str | None = None
    """Python of the image, such as 3.11; by default as --image says."""
    platform: tuple[str, ...] = ()
    """Platforms of wheels, such as manylinux_2_28_x86_64; by default as --image says."""
    wheels: bool = True
    """Whether to pack wheels."""

    def name(self, part: str) -> str:
        """The title of a part on Kaggle."""
        return f"{self.title} {part}"

    def id(self, part: str) -> str:
        """user/slug of a part. Kaggle makes the slug of the title: in lower case, with dashes."""
        return f"{self.user}/{self.name(part).lower().replace(' ', '-')}"


def make_package(out: Path, settings: Settings) -> list[str]:
    """Make the package and move it to `out` once complete. Returns its parts, in the order of uploading.

    Raises InputError for bad settings or sources, a failed download, and anything at `out` but an unchanged package.
    """
    _check(settings)
    out = Path(os.path.realpath(out))
    refuse_to_replace(out)
    temporary = out.with_name(f".{out.name[:32]}.{os.urandom(8).hex()}.tmp")
    try:
        temporary.mkdir(parents=True)
        parts = _fill(temporary, settings)
        refuse_to_replace(out)  # again, since downloading takes a while
        old = temporary.with_suffix(".old")
        if out.exists():
            out.rename(old)  # removed only once the new package has its name
        temporary.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{out}: expected to write a package, got: {one_line(error.strerror or str(error))}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return parts


def _check(settings: Settings) -> None:
    for option, value, pattern, wanted in (
        ("--user", settings.user, r"[A-Za-z0-9][A-Za-z0-9-]*", "letters, digits and dashes"),
        ("--competition", settings.competition, r"[a-z0-9][a-z0-9-]*", "its slug, as arc-prize-2026-arc-agi-2"),
        ("--title", settings.title, r"[A-Za-z0-9]+([ -][A-Za-z0-9]+)*", "words joined by single spaces or dashes"),
        ("--machine-shape", settings.machine_shape, r"[A-Za-z0-9]+", f"a word as NvidiaL4, or {NO_GPU}"),
        ("--python-version", settings.python_version or "3.11", r"3\.\d+", "a version as 3.11"),
    ):
        if not re.fullmatch(pattern, value):
            raise InputError(f"{option}: expected {wanted}, got {one_line(value)!r}")
    longest = settings.name("submission")
    if not SHORTEST <= len(settings.name("code")) <= len(longest) <= LONGEST:
        raise InputError(f"--title: expected titles of {SHORTEST} to {LONGEST} characters, got {longest!r}")
    for name in (*SOURCES, "LICENSE", NOTEBOOK):
        if not (ROOT / name).exists():
            raise InputError(f"package: expected {name} in {ROOT}, got none: package from a checkout")


def refuse_to_replace(out: Path) -> None:
    """Raise InputError if there is anything at `out` but an empty folder or an unchanged package."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not out.is_dir():
        raise InputError(f"{out}: expected a folder, or nothing, got a file")
    recorded = read_package(out)["files"]
    present = {str(path.relative_to(out)): path for path in out.rglob("*") if not path.is_dir()}
    for name, path in sorted(present.items()):
        if name != PACKAGE and (name not in recorded or digest(path) != recorded[name]):
            got = f"a {'changed' if name in recorded else 'new'} {one_line(name)}"
            raise InputError(f"{out}: expected a package as it was made, got {got}: choose another folder")


def read_package(folder: Path) -> dict[str, Any]:
    """The checked package.json. Raises InputError if `folder` is not a package."""
    if not (folder / PACKAGE).is_file():
        raise InputError(f"{folder}: expected a folder that {MADE_BY} made, got one without {PACKAGE}")
    document = read_json(folder / PACKAGE)
    made = (document.get("made_by"), document.get("format")) if isinstance(document, dict) else None
    if not isinstance(document, dict) or made != (MADE_BY, FORMAT):
        raise InputError(f"{folder / PACKAGE}: expected what {MADE_BY} wrote, got something else")
    for name, kind in {"image": str, "python": str, "competition": str, "datasets": dict, "files": dict}.items():
        if not isinstance(document.get(name), kind):
            raise fault(f"{folder / PACKAGE}: {name}", f"what {MADE_BY} wrote", document.get(name))
    return document


def digest(path: Path) -> str:
    """SHA-256 of a file; empty for a link or folder, which no package holds."""
    if path.is_symlink() or not path.is_file():
        return ""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):  # wheels are large
            state.update(block)
    return state.hexdigest()


def _fill(folder: Path, settings: Settings) -> list[str]:
    datasets = {"code": "Sources of arc-trm. Licence: MIT-0, see LICENSE."}
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / "code" / name, ignore=_no_sources)
    shutil.copyfile(ROOT / "LICENSE", folder / "code" / "LICENSE")
    if settings.weights is not None:
        check_weights(settings.weights)  # raises on broken weights now rather than on Kaggle
        (folder / "weights").mkdir()
        for name in (WEIGHTS, CONFIG, PUZZLES, MANIFEST):  # a checkpoint has gigabytes beside them, only for resuming
            if (settings.weights / name).exists():
                shutil.copyfile(settings.weights / name, folder / "weights" / name)
        datasets["weights"] = "Weights for arc-trm. Licence: MIT-0."
    python = settings.python_version or wheels.IMAGES[settings.image].python
    pinned = wheels.lock(settings.image, settings.lacks, python) if settings.wheels else {}
    if pinned:
        lines = [f"{name}=={version}\n" for name, version in pinned.items()]
        write_atomically(folder / "wheels" / LOCK, "".join(lines).encode())
        wheels.download(folder / "wheels", python, settings.platform or wheels.IMAGES[settings.image].platforms)
        datasets["wheels"] = "Wheels that arc-trm needs, as their authors publish them. Licences: see each wheel."
    for part, words in datasets.items():
        about: dict[str, Any] = {
            "title": settings.name(part),
            "id": settings.id(part),
            "licenses": LICENCE,
            "description": words,
        }
        _write_json(folder / part / "dataset-metadata.json", about)
    _copy_notebook(folder / "notebook", list(datasets), settings)
    about = {
        "format": FORMAT,
        "made_by": MADE_BY,
        "image": settings.image,
        "python": python or ".".join(machine.python_version_tuple()[:2]),
        "competition": settings.competition,
        "datasets": {part: settings.id(part) for part in datasets},
        "files": {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*")) if p.is_file()},
    }
    _write_json(folder / PACKAGE, about)
    return [*datasets, "notebook"]


def _no_sources(folder: str, names: list[str]) -> list[str]:
    """The names in a folder that are not copied: caches, hidden files, and files that are not sources."""
    return [
        name
        for name in names
        if name.startswith((".", "__pycache__")) or not (name.endswith(SUFFIXES) or Path(folder, name).is_dir())
    ]


def _copy_notebook(folder: Path, datasets: list[str], settings: Settings) -> None:
    folder.mkdir()
    shutil.copy(ROOT / NOTEBOOK, folder)
    gpu = settings.machine_shape != NO_GPU
    about = {
        "id": settings.id("submission"),
        "title": settings.name("submission"),
        "code_file": Path(NOTEBOOK).name,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": gpu,
        "enable_internet": False,
        **({"machine_shape": settings.machine_shape} if gpu else {}),
        "dataset_sources": [settings.id(part) for part in datasets],
        "competition_sources": [settings.competition],
        "kernel_sources": [],
        "model_sources": [],
    }
    _write_json(folder / "kernel-metadata.json", about)


def _write_json(path: Path, document: dict[str, Any]) -> None:
    write_atomically(path, orjson.dumps(document, option=orjson.OPT_INDENT_2))


def command(
    out: Path,
    settings: Annotated[Settings, tyro.conf.arg(name="")] = Settings(),
) -> int:
    """Make the folders that the `kaggle` command uploads: code, weights and wheels as datasets, and the notebook.

    Uploads nothing. An existing folder is replaced only if it is an unchanged package.

    Args:
        out: Folder of the package.
        settings: Settings.
    """
    parts = make_package(out, settings)
    print(f"{out}: {', '.join(parts)}\nnext:")
    for part in parts[:-1]:
        print(f"  kaggle datasets create -p {out / part}{' --dir-mode zip' if part == 'code' else ''}")
    print(f"  kaggle kernels push -p {out / 'notebook'}")
    print("a dataset that exists already: kaggle datasets version -m MESSAGE -p DIR instead of create")
    if settings.user == NOBODY:
        print(f"the ids contain {NOBODY}: before uploading, package again with --user and your name on Kaggle")
    return 0
