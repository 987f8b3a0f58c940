"""A published checkpoint that was trained a little solves by its puzzle embeddings, and without them it does not."""

import json
from pathlib import Path

import pytest
import torch

from solver.__main__ import main
from solver.common.clock import Clock
from solver.model.weights import Knowledge, fresh_knowledge
from solver.settings.config import LearnerConfig, TRMConfig
from solver.tasks.task import Pair, Task
from tests.solver.samples import config, grid, make_fitting, save_challenges
from train_offline.published.convert import IDENTIFIERS, export_published

MODEL = TRMConfig(width=32, heads=2, cycles=1, latent_updates=1, row_tokens=1, row_width=32)
LEARNER = LearnerConfig(lr=1e-2, row_lr=0.1, warmup_steps=5, ema_decay=0.9, loss="softmax", supervision_steps=1)
KNOWN = 6  # variants with a row in the checkpoint


def opposites() -> list[Task]:
    """Two tasks with the same inputs and other outputs: only the puzzle embedding tells them apart."""
    tasks = []
    for name, output in (("ones", grid("11")), ("twos", grid("22"))):
        pairs = tuple(Pair(grid(cells), output) for cells in ("12", "34", "56"))
        tasks.append(Task(name, pairs, pairs))
    return tasks


def trained(tasks: list[Task]) -> Knowledge:
    settings = config(90, augmentations=KNOWN, learner=LEARNER, step_tokens=400)
    start = fresh_knowledge(MODEL, 0, torch.device("cpu"))
    fitting = make_fitting(tasks, start, settings)
    for _ in fitting.run(Clock()):
        pass
    assert fitting.loss < 0.3
    return fitting.knowledge()


def test_embeddings_of_a_published_checkpoint_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = opposites()
    export_published(trained(tasks), tmp_path / "published" / "step_1")
    source = save_challenges(tmp_path / "tasks.json", tasks, outputs=True)
    solved = {}
    for name, given in (("known", ["--tasks", str(source)]), ("unknown", [])):
        weights, out = tmp_path / name, tmp_path / f"{name}-out" / "submission.json"
        files = [str(tmp_path / "published" / "step_1"), "--identifiers", str(tmp_path / "published" / IDENTIFIERS)]
        settings = ["--config", str(tmp_path / "published" / "all_config.json")]
        assert main(["import-published", *files, *settings, "--out", str(weights), *given]) == 0
        run = ["--fit-mode", "none", "--augmentations", "8", "--canvas", "tight", "--supervision-steps", "1"]
        assert main(["solve", str(source), "--weights", str(weights), "--out", str(out), *run]) == 0
        answers = json.loads(out.read_text())  # the second attempt is a guess by simple rules
        solved[name] = sum(
            answer["attempt_1"] == pair.output.tolist()
            for task in tasks
            for answer, pair in zip(answers[task.id], task.test, strict=True)
            if pair.output is not None
        )
        reused = 2 * KNOWN if given else 0
        assert f"puzzle embeddings taken over from the weights: {reused} of 16" in capsys.readouterr().err
    assert solved["known"] == 6
    assert solved["unknown"] <= 3
