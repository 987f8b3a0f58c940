"""What a restarted run continues from: the votes in its journal, and the weights fitted by its last round."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from solver.answers.journal import Journal, JournalReader, clear_journal, read_outcome
from solver.answers.outcome import Outcome
from solver.common.checks import InputError
from solver.common.files import code_digest
from solver.model.weights import Knowledge, digest_of, load_knowledge, save_knowledge
from solver.run.events import Counted, Event, RoundDone
from solver.tasks.task import Task

FITTED_FROM = "fitted_from"  # in the manifest of fitted weights: digests of the weights before, and of the code

log = logging.getLogger("arc_trm")


class Keeper:
    """Keeps the votes and the fitted weights of one process; a disk that fails costs a warning, not the run."""

    def __init__(self, folder: Path, tasks: Sequence[Task], name: str | None, start: Knowledge | None = None) -> None:
        """`name` distinguishes the weights of a run's processes; None keeps no weights (there are several fits).

        `start`: the weights that the run starts from, so that those of other weights or other code are noticed.
        """
        self._folder, self._tasks = folder, tasks
        self._weights = folder / name if name else None
        self._from = None if start is None else {"weights": digest_of(start.tensors()), "code": code_digest()}
        by = "-".join(self._from.values()) if self._from else None
        self._by = {by} if by else set()
        self._journal = Journal(folder, tasks, start is not None and start.saw_outputs_of(tasks), by)

    def start_anew(self) -> None:
        """Delete what an earlier run left in the folder."""
        clear_journal(self._folder)
        self.forget_weights()

    def outcome(self) -> Outcome:
        """An outcome with all votes so far, of any process."""
        outcome, reader = read_outcome(self._folder, self._tasks)
        self.compare(reader)
        return outcome

    def compare(self, reader: JournalReader) -> None:
        """Say so if some of the votes that were read were made by other weights or code."""
        if reader.by - self._by and self._by:
            log.warning("%s: some of the votes were made by other weights or other code; they count too", self._folder)

    def knowledge(self, start: Knowledge) -> Knowledge | None:
        """The weights last fitted to these tasks from a start of the same shape; None where there are none."""
        if self._weights is None or not self._weights.exists():
            return None
        try:
            found = load_knowledge(self._weights, start.table.device)
        except InputError as error:
            log.warning("%s; fitting begins again", error)
            return None
        digests = {digest for _, digest in found.rows}
        fitted = all(task.digest in digests or start.knows(task) for task in self._tasks)
        if found.model.config != start.model.config or not fitted:
            log.warning("%s: expected weights fitted to these tasks, got others; fitting begins again", self._weights)
            return None
        made = found.manifest.get(FITTED_FROM, {})
        if self._from and made.get("weights", self._from["weights"]) != self._from["weights"]:
            log.warning("%s: expected a fit of these weights, got one of others; fitting begins again", self._weights)
            return None
        if self._from and made.get("code") != self._from["code"]:
            log.warning("%s: fitted by other code; fitting goes on from there", self._weights)
        return found

    def keep(self, event: Event) -> None:
        """Write votes once they are counted, and weights after each round."""
        if isinstance(event, Counted):
            try:
                self._journal.append(event.blocks)
            except OSError as error:
                log.warning("journal: expected to write votes, got: %s; trying again with the next", error.strerror)
        elif isinstance(event, RoundDone) and event.fitting.steps and self._weights is not None:
            try:
                fitted = event.fitting.knowledge()
                fitted.manifest = {**fitted.manifest, **({FITTED_FROM: self._from} if self._from else {})}
                save_knowledge(self._weights, fitted)
            except InputError as error:
                log.warning("%s; continuing without saved weights", error)

    def forget_weights(self) -> None:
        """Delete the fitted weights: the run is over."""
        if self._weights is not None:
            shutil.rmtree(self._weights, ignore_errors=True)
