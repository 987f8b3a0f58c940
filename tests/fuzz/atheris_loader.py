"""Bytes that atheris (libFuzzer) makes, led by the branches they reach, through every target of `tests.fuzz.targets`.

    python -m tests.fuzz.atheris_loader -runs=50000

Options are libFuzzer's. It starts from the valid examples, in a folder of its own unless one is named. A failure is
printed with its traceback, its input is left in a file crash-..., and the exit code is not 0. atheris is no dependency:
`pip install atheris` first.
"""

import json
import logging
import os
import sys
import tempfile
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("error: expected the package atheris, got none: pip install atheris")

with atheris.instrument_imports(include=["solver"]):
    from tests.fuzz.targets import EXAMPLES, Targets

TOKENS = [
    "train",
    "test",
    "input",
    "output",
    "attempt_1",
    "attempt_2",
    "grid",
    "votes",
    "halting",
    "|||",
    "NaN",
    "1e999",
]
MEMORY = "/dev/shm"


def main(arguments: list[str]) -> None:
    """Fuzz in a child process, since libFuzzer ends its process at once and would leave the working files behind."""
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        child = os.fork()
        if not child:
            fuzz(arguments, Path(folder))
        _, status = os.waitpid(child, 0)
    sys.exit(bool(status))


def fuzz(arguments: list[str], folder: Path) -> None:
    """Ends the process."""
    logging.disable()  # lenient loading warns of every bad task
    seeds, words = folder / "seeds", folder / "words"
    seeds.mkdir()
    for name, example in EXAMPLES.items():
        (seeds / name).write_text(json.dumps(example, separators=(",", ":")))
    words.write_text("".join(f'"{token}"\n' for token in TOKENS))
    targets = Targets(folder)

    def one(data: bytes) -> None:
        for name in targets.by_name:
            targets.run(name, data)

    corpus = [] if any(not option.startswith("-") for option in arguments) else [str(seeds)]
    print(f"{len(targets.by_name)} targets an input", file=sys.stderr)
    atheris.Setup([sys.argv[0], f"-dict={words}", *arguments, *corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
