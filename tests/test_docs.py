"""The documentation stays true: commands parse, the map is the file tree, links exist, the example is current."""

import functools
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from solver import __main__ as cli
from submission import batch
from submission.package import check

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = {"submission.batch": batch, "submission.package.check": check}
LINE = re.compile(r"^    (?:\.venv/bin/)?((?:arc-trm|torchrun|python -m (?:submission|solver|train_offline)).*)$", re.M)
LINES = [
    pytest.param(line, id=f"{page.name}: {line}"[:100])
    for page in PAGES
    for line in LINE.findall(page.read_text().replace("\\\n", " "))
]


def stub(function: Callable[..., int], called: list[str], name: str) -> Callable[..., int]:
    @functools.wraps(function)  # tyro reads the signature
    def note(*arguments: Any, **options: Any) -> int:
        called.append(name)
        return 0

    return note


def command_arguments(words: list[str]) -> list[str]:
    """What reaches `arc-trm`; under torchrun, what follows `-m train_offline`."""
    return words[1:] if words[0] == "arc-trm" else ["train", *words[words.index("train_offline") + 1 :]]


@pytest.mark.parametrize("line", LINES)
def test_a_command_parses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user would type it, up to the function that would do the work."""
    called: list[str] = []
    words = shlex.split(line, comments=True)
    name = next((word for word in words if word in MODULES), "")
    if name:
        module = MODULES[name]
        monkeypatch.setattr(module, "command", stub(module.command, called, name))
        monkeypatch.setattr(sys, "argv", [name, *words[words.index(name) + 1 :]])
        assert module.main() == 0
    else:
        arguments = command_arguments(words)
        name = arguments[0]
        module_name, _, function = cli.COMMANDS[name].partition(":")
        command_module = importlib.import_module(module_name)
        monkeypatch.setattr(command_module, function, stub(getattr(command_module, function), called, name))
        assert cli.main(arguments) == 0
    assert called == [name]


def test_every_command_is_shown() -> None:
    shown = [shlex.split(str(line.values[0]), comments=True) for line in LINES]
    modules = {word for words in shown for word in words if word in MODULES}
    commands = {command_arguments(words)[0] for words in shown if not modules & set(words)}
    assert commands >= {*cli.COMMANDS} - {"demo"}
    assert modules == set(MODULES)
    assert sum(words[0] == "torchrun" and "train_offline" in words for words in shown) >= 2


def mapped_files() -> Iterator[str]:
    """The Python files that docs/map.md lists, in an indented tree: two more spaces per level."""
    folders: list[str] = []
    for indent, name in re.findall(r"^    ( *)(\S+)(?:  |$)", (ROOT / "docs/map.md").read_text(), re.M):
        folders = folders[: len(indent) // 2]
        if name.endswith("/"):
            folders.append(name)
        elif name.endswith(".py"):
            yield "".join([*folders, name])


def test_the_map_is_the_file_tree() -> None:
    listed = list(mapped_files())
    assert len(listed) == len(set(listed))
    tops = {path.parts[0] for path in map(Path, listed)}
    files = {str(path.relative_to(ROOT)) for top in tops for path in (ROOT / top).rglob("*.py")}
    assert sorted(listed) == sorted(file for file in files if not file.endswith("__init__.py"))
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= tops | {"tests"}


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("submission/weights/*/README.md")], ids=lambda page: page.name)
def test_links_and_paths_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text) + re.findall(r'src="([^"]+)"', text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    if page.name != "log.md":  # the log keeps the names of its day
        for path in re.findall(
            r"`((?:kernels|solver|train_offline|submission|notebooks|benchmarks|docs|tests)/[^`*…]*)`", text
        ):
            assert (ROOT / path).exists(), path


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.M)).split()
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(targets) - {"help"} <= set(re.findall(r"^make (\S+)  +\S", printed, re.M))


def test_how_it_works_is_what_the_script_writes() -> None:
    """If this fails after a deliberate change of the code: `make docs`, and read the page again."""
    spec = importlib.util.spec_from_file_location("how_it_works", ROOT / "docs" / "how_it_works.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.page() == script.PAGE.read_text(encoding="utf-8")
