"""The command line: `arc-trm COMMAND`, also `python -m solver COMMAND`.

A command's module is imported when it is asked for: `arc-trm score` must not wait for torch to load.
"""

import gc
import importlib
import logging
import sys
from collections.abc import Callable, Sequence

import tyro

from solver import STARTED
from solver.common.checks import shown
from solver.common.clock import count_from
from solver.common.command_line import run_command

COMMANDS = {
    "demo": "solver.run.demo:command",
    "solve": "solver.run.command:command",
    "score": "solver.answers.commands:score_command",
    "check": "solver.answers.commands:check_command",
    "report": "solver.report.page:command",
    "train": "train_offline.cli:command",
    "curve": "train_offline.metrics:command",
    "analyze": "train_offline.analysis.cli:command",
    "import-published": "train_offline.published.convert:import_command",
    "export-published": "train_offline.published.convert:export_command",
    "bench": "benchmarks.cli:command",
    "efficiency": "benchmarks.efficiency:command",
    "package": "submission.package.build:command",
    "merge": "submission.merge:command",
}
"""Name -> where it is. Found by name, since most live above solver in the one-way order of imports."""


def load_command(name: str) -> Callable[..., int]:
    """Import the function of a command."""
    module, _, function = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(module), function)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 done, 1 invalid input, 2 usage, 130 interrupted."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    if arguments is not None:
        return run_command(lambda: _run(list(arguments)))
    count_from(STARTED)
    code = run_command(lambda: _run(sys.argv[1:]))
    gc.freeze()  # or Python would look for cycles when it ends, which takes seconds after the deadline
    return code


def _run(words: list[str]) -> int:
    words = words or ["--help"]
    name, rest = words[0], words[1:]
    if name in COMMANDS:
        return tyro.cli(load_command(name), prog=f"arc-trm {name}", args=rest)
    if not name.startswith("-"):
        print(f"error: expected a command ({', '.join(COMMANDS)}), got {shown(name)}", file=sys.stderr)
        return 2
    return tyro.extras.subcommand_cli_from_dict(
        {name: load_command(name) for name in COMMANDS},
        prog="arc-trm",
        description="An offline solver for the ARC Prize around the Tiny Recursive Model.",
        args=words,
        sort_subcommands=False,
    )


if __name__ == "__main__":
    sys.exit(main())
