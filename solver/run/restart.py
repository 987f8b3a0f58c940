"""What a restarted run goes on from: the votes of its journal, and the weights as its last round had fitted them."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from solver.answers.journal import Journal, JournalReader, clear_journal
from solver.answers.votes import Block, Votes
from solver.common.checks import InputError
from solver.fit import Fitting
from solver.model.weights import Knowledge, load_knowledge, save_knowledge
from solver.tasks.task import Task

log = logging.getLogger("arc_trm")


class Keeper:
    """Keeps the votes and the fitted weights of one process; a disk that cannot take them costs a warning."""

    def __init__(self, folder: Path, tasks: Sequence[Task], name: str | None, leaks: bool = False) -> None:
        """`name` tells the weights of a run's processes apart; None: keep no weights, there is not one fit of all."""
        self._folder, self._tasks = folder, tasks
        self._weights = folder / name if name else None
        self._journal = Journal(folder, tasks, leaks)
        self._reader = JournalReader(folder, tasks)

    def start_anew(self) -> None:
        """Forget an earlier run in the folder."""
        clear_journal(self._folder)
        self.forget_weights()

    def votes(self) -> Votes:
        """What has been voted so far, by whatever process."""
        votes, self._reader = Votes(self._tasks), JournalReader(self._folder, self._tasks)
        for block in self._reader.new_blocks():
            votes.add(block)
        return votes

    @property
    def leaks(self) -> bool:
        """Whether any of `votes` was one of weights that may have seen the test outputs."""
        return self._reader.leaks

    def knowledge(self, start: Knowledge) -> Knowledge | None:
        """The weights as last fitted from such a start to these tasks; None where there are none."""
        if self._weights is None or not self._weights.exists():
            return None
        try:
            found = load_knowledge(self._weights, start.table.device)
        except InputError as error:
            log.warning("%s; fitting begins again", error)
            return None
        digests = {digest for _, digest in found.rows}
        if found.model.config != start.model.config or not all(task.digest in digests for task in self._tasks):
            log.warning("%s: expected weights fitted to these tasks, got others; fitting begins again", self._weights)
            return None
        return found

    def voted(self, blocks: Sequence[Block]) -> None:
        """Put votes on the disk."""
        try:
            self._journal.append(blocks)
        except OSError as error:
            log.warning("journal: expected to write votes, got: %s; trying again with the next", error.strerror)

    def fitted(self, fitting: Fitting) -> None:
        """Put the fitted weights on the disk."""
        if self._weights is None:
            return
        try:
            save_knowledge(self._weights, fitting.knowledge())
        except InputError as error:
            log.warning("%s; going on without", error)

    def forget_weights(self) -> None:
        """Remove the fitted weights: the run is over."""
        if self._weights is not None:
            shutil.rmtree(self._weights, ignore_errors=True)
