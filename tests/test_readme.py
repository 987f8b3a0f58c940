"""The README's commands are commands: each is parsed as a user would type it, and reaches its function."""

import functools
import importlib
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from solver import __main__ as cli
from submission import batch
from submission.package import check

README = (Path(__file__).parent.parent / "README.md").read_text().replace("\\\n", " ")
LINES = re.findall(r"^    (?:\.venv/bin/)?((?:arc-trm|torchrun|python) .*)$", README, re.MULTILINE)
MODULES = {"submission.batch": batch, "submission.package.check": check}
COMMANDS = [line for line in LINES if not any(module in line for module in MODULES)]


def stub(function: Callable[..., int], called: list[str], name: str) -> Callable[..., int]:
    @functools.wraps(function)  # tyro reads the signature
    def note(*arguments: Any, **options: Any) -> int:
        called.append(name)
        return 0

    return note


def arguments(command: str) -> list[str]:
    """What reaches `arc-trm`; under torchrun, what follows `-m train_offline`."""
    words = shlex.split(command, comments=True)
    return words[1:] if words[0] == "arc-trm" else ["train", *words[words.index("train_offline") + 1 :]]


def test_the_readme_shows_every_command() -> None:
    shown = {arguments(command)[0] for command in COMMANDS}
    assert shown >= {*cli.COMMANDS} - {"demo"}
    assert sum(command.startswith("torchrun") for command in COMMANDS) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name, place in cli.COMMANDS.items():
        module, _, function = place.partition(":")
        there = importlib.import_module(module)
        monkeypatch.setattr(there, function, stub(getattr(there, function), called, name))
    given = arguments(command)
    assert cli.main(given) == 0
    assert called == [given[0]]


@pytest.mark.parametrize("line", [line for line in LINES if line not in COMMANDS])
def test_a_module_of_the_readme_is_understood(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    words = shlex.split(line, comments=True)
    name = words[words.index("-m") + 1]
    module = MODULES[name]
    monkeypatch.setattr(module, "command", stub(module.command, called, name))
    monkeypatch.setattr(sys, "argv", [name, *words[words.index(name) + 1 :]])
    assert module.main() == 0
    assert called == [name]


def test_the_readme_shows_every_module() -> None:
    assert {name for name in MODULES for line in LINES if name in line} == set(MODULES)
