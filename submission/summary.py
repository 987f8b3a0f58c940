"""summary.json: what became of every file of a batch, for schedulers and for other runs in the same folder.

    {"format": 1, "files": {name of the file's folder: {
        "file": str, "status": str, "tasks": int, "test_outputs": int, "voted": int, "fallbacks": int,
        "score": {"correct": float, "total": int, "score": 0..1} or null,
        "fit_steps": int, "votes": int, "seconds": float, "faults": [str]}}}

"status"        "waiting", "solving", "solved", "stopped" (by a signal), "failed" (worth another try) or "invalid".
"test_outputs"  all of them. "voted" have votes; "fallbacks" have none, and their attempts needed no model.
"score"         Kaggle's, null if an output is unknown.
"faults"        the errors that were logged, one line each.
Keys from "voted" on are there once the file is solved, except "faults".
"""

import fcntl
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from solver.common.checks import InputError
from solver.common.files import file_name, open_to_append, read_json, write_atomically

FILE_NAME, FORMAT = "summary.json", 1

log = logging.getLogger("arc_trm")


class Summary:
    """The summary of a folder. Runs that overlap in time share it; a run that starts alone begins a new one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Take part in the folder. Raises InputError if it cannot be written."""
        name = file_name(self._folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{name}: expected a folder to write to, got: {error.strerror}") from None
        with ExitStack() as held:  # closing the file, or the end of the process, gives the lock up
            try:
                runs = held.enter_context(open_to_append(self._folder / ".runs"))
                with self._turn():
                    with suppress(OSError):  # other runs are at work
                        fcntl.flock(runs, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        (self._folder / FILE_NAME).unlink(missing_ok=True)
                    fcntl.flock(runs, fcntl.LOCK_SH)
            except OSError as error:
                log.error("%s: expected to lock files in it, got: %s; going on without", name, error.strerror)
            yield

    def status(self, name: str) -> str | None:
        """The status of a file, whichever run has set it."""
        status = self._read().get(name, {}).get("status")
        return status if isinstance(status, str) else None

    def update(self, name: str, **facts: Any) -> None:
        """Change some facts on a file. A disk that fails costs an error in the log."""
        try:
            with self._turn():
                files = self._read()
                files[name] = {**files.get(name, {}), **facts}
                text = json.dumps({"format": FORMAT, "files": files}, indent=2)  # not orjson: paths may be no Unicode
                write_atomically(self._folder / FILE_NAME, text.encode())
        except (InputError, OSError) as error:
            log.error("%s: expected to write it, got: %s", FILE_NAME, error)

    def _read(self) -> dict[str, Any]:
        try:
            document = read_json(self._folder / FILE_NAME)
        except InputError:  # the first update will write it
            return {}
        files = document.get("files") if isinstance(document, dict) else None
        return {n: facts for n, facts in files.items() if isinstance(facts, dict)} if isinstance(files, dict) else {}

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until no other run changes the summary."""
        with open_to_append(self._folder / ".turn") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
