"""`python -m submission.package.check DIR --challenges FILE`: check that a package works on a bare machine.

Runs the notebook as Kaggle does: in a fresh virtual environment, without network, in a simulated Kaggle tree with
read-only input; first as the scored run in the newer layout of input, then as a rehearsal in the older one.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import tyro

from solver.answers.run_json import FILE_NAME, read_run
from solver.answers.submission_json import check, expected_counts
from solver.common.checks import InputError, one_line
from solver.common.clock import format_duration
from solver.common.files import write_atomically
from solver.settings.options import Duration
from solver.tasks.load import load_tasks
from submission.logs import run_command
from submission.notebook import LOCK
from submission.package.build import NOTEBOOK, digest, read_package
from submission.package.simulated_kaggle import Layout, SimulatedKaggle, isolation

# The kernel runs in the fresh interpreter but needs ipykernel, which Kaggle's image has and the package has not. So the
# packages of the checking environment, or for another Python a fresh ipykernel, come last on the path of this one
# process. Processes that the notebook starts (pip, the run) do not inherit them: they fail if a wheel is missing.
KERNEL = "import sys; sys.path += {tools!r}; from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
GRACE = 600.0  # seconds per cell on top of the budgets, for installing and importing
SHOWN_LINES = 20  # of the output of a cell
GOOD = "submission.json is valid, a model has voted, input is as it was"
REHEARSAL = ("submission.json", "report.html")


def _say(what: str) -> None:
    """Print a finished step with the time of day."""
    print(f"[{time.strftime('%H:%M:%S')}] {what}", flush=True)


def check_package(
    package: Path,
    challenges: Path,
    solutions: Path,
    budget: float,
    rehearsal_budget: float,
    more: str = "",
    interpreter: str = sys.executable,
) -> list[str]:
    """Run the package's notebook as described above; returns its faults. Raises InputError if that cannot be done."""
    about, version = read_package(package), version_of(interpreter)
    refuse_unfit(package, about, version)
    expected = expected_counts(load_tasks(str(challenges)))
    _say(f"{package}: {len(about['files'])} files, as they were packed; {len(expected)} tasks to solve")
    faults = []
    with tempfile.TemporaryDirectory(prefix="kaggle-") as folder:
        kaggle = SimulatedKaggle(Path(folder) / "kaggle", package, about, challenges, solutions)
        python = Path(folder) / "venv" / "bin" / "python"
        _ask([interpreter, "-m", "venv", str(python.parents[1])], "a virtual environment")
        _say(f"made a fresh environment of Python {version}, {python}")
        tools = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        if version != version_of(sys.executable):
            tools = [str(Path(folder) / "tools")]
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", *tools]
            _ask([*pip, "ipykernel"], "ipykernel for it")
        options = f"--budget {format_duration(budget)} --rehearsal-budget {format_duration(rehearsal_budget)} {more}"
        timeout = budget + rehearsal_budget + GRACE
        for scored in (True, False):
            layout: Layout = "newer" if scored else "older"
            name = f"{'scored run' if scored else 'rehearsal'}, {layout} layout"
            _say(f"{name}: a tree of {kaggle.arrange(layout)} files in {kaggle.root}")
            environment = _environment(Path(folder), kaggle.root, options, scored)
            error = _run_notebook(package, kaggle, python, tools, environment, timeout)
            found = [error] if error else what_is_wrong(kaggle, expected, scored)
            faults += [f"{name}: {fault}" for fault in found]
            _say(f"{name}: {found[0] if found else GOOD}")
    return faults


def version_of(interpreter: str) -> str:
    """The version of a Python, such as 3.12. Raises InputError if it does not run."""
    return _ask([interpreter, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"], "a Python to run")


def _ask(command: Sequence[str], wanted: str) -> str:
    """The last line that a command prints. Raises InputError if it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        raise InputError(f"{one_line(command[0])}: expected {wanted}, got: {error.strerror}") from None
    if done.returncode:
        raise InputError(f"{one_line(command[0])}: expected {wanted}, got: {_last_line(done.stdout)}")
    return _last_line(done.stdout)


def refuse_unfit(package: Path, about: Mapping[str, Any], version: str) -> None:
    """Raise InputError unless the package is unchanged and brings all wheels for this version of Python."""
    for name, recorded in about["files"].items():
        if digest(package / name) != recorded:
            raise InputError(f"{package / name}: expected the file that was packed, got another or none: package again")
    if about["image"] != "bare" or f"wheels/{LOCK}" not in about["files"]:
        got = f"one for the image {about['image']!r}" if about["image"] != "bare" else "one without wheels"
        wanted = "a package that brings everything"
        raise InputError(f"{package}: expected {wanted}, got {got}: make one to check with --image bare")
    if about["python"] != version:
        raise InputError(
            f"{package}: expected wheels for Python {version}, which runs the check, got {about['python']}"
        )


def what_is_wrong(kaggle: SimulatedKaggle, expected: Mapping[str, int], scored: bool) -> list[str]:
    """The faults of the files that a run left."""
    faults = []
    try:
        check(kaggle.working / "submission.json", expected)
    except InputError as error:
        faults.append(str(error))
    if changes := kaggle.changes():
        faults.append(f"input: expected it as it was, got {len(changes)} changes, for example {changes[0]}")
    if unpacked := sorted(kaggle.working.rglob("*.dist-info")):
        faults.append(f"working: expected no unpacked wheels, got {unpacked[0].name}")
    rehearsal = kaggle.working / "rehearsal"
    if scored and rehearsal.exists():
        faults.append("working: expected no rehearsal in the scored run, got one")
    missing = [name for name in REHEARSAL if not scored and not (rehearsal / name).is_file()]
    faults += [f"working/rehearsal: expected {name}, got none" for name in missing]
    folder = kaggle.working if scored else rehearsal
    try:  # a run without torch also leaves a valid submission, of fallbacks
        if not any(test["votes"] for task in read_run(folder)["tasks"] for test in task["test"]):
            got = "fallbacks alone: see what it printed, or give more --budget"
            faults.append(f"{folder / FILE_NAME}: expected votes, got {got}")
    except InputError as error:
        faults.append(str(error))
    return faults


def _environment(folder: Path, root: Path, options: str, scored: bool) -> dict[str, str]:
    """The notebook's environment variables, without pip settings, caches and PYTHONPATH of this machine."""
    (folder / "home").mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    kept |= {"HOME": str(folder / "home"), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1"}
    kept |= {"KAGGLE_IS_COMPETITION_RERUN": "1"} if scored else {}
    return kept | {"KAGGLE_ROOT": str(root), "KAGGLE_OPTIONS": options}


def _run_notebook(
    package: Path,
    kaggle: SimulatedKaggle,
    python: Path,
    tools: Sequence[str],
    environment: dict[str, str],
    timeout: float,
) -> str:
    """Execute the notebook in a kernel of the fresh environment. Returns the reason for a failure, or an empty text."""
    try:  # optional packages
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    except ImportError as error:
        raise InputError(f"check: expected the package {error.name}, got none: pip install {error.name}") from None
    how = isolation(kaggle.input)
    _say(how.words)

    def report_cell(cell: Any, **_: Any) -> None:
        _say(f"cell: {one_line(cell.source.splitlines()[-1])}")
        for line in cell_lines(cell)[-SHOWN_LINES:]:
            print(f"             | {line}")

    client = NotebookClient(
        nbformat.read(package / "notebook" / Path(NOTEBOOK).name, as_version=4),
        km=_kernel(kaggle.root.parent / "kernels", [*how.prefix, str(python)], tools),
        timeout=int(timeout),
        on_cell_executed=report_cell,
    )
    try:
        client.execute(cwd=str(kaggle.working), env={**environment, **how.environment}, cleanup_kc=True)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return f"notebook: expected every cell to run, got {_last_line(str(error))}"
    return ""


def _kernel(folder: Path, python: list[str], tools: Sequence[str]) -> Any:
    """A manager that starts the kernel with `python`, and ipykernel from `tools`; its files are in `folder`."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    start = [*python, "-c", KERNEL.format(tools=sorted(set(tools))), "-f", "{connection_file}"]
    spec = {"argv": start, "display_name": "fresh", "language": "python"}
    write_atomically(folder / "fresh" / "kernel.json", orjson.dumps(spec))
    return AsyncKernelManager(
        kernel_name="fresh",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder)]),
        transport="ipc",  # sockets in files, since a kernel without network cannot reach our 127.0.0.1
        connection_file=str(folder / f"{time.monotonic_ns()}.json"),
    )


def cell_lines(cell: Mapping[str, Any]) -> list[str]:
    """The output of a cell, as lines of text."""
    lines: list[str] = []
    for output in cell.get("outputs", ()):
        if output["output_type"] == "error":
            lines.append(f"{output['ename']}: {output['evalue']}")
        elif "text/html" in output.get("data", ()):
            lines.append(f"a page of {len(output['data']['text/html'])} characters")
        else:
            lines += str(output.get("text") or output["data"].get("text/plain", "")).splitlines()
    return lines


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else "no word"


def command(
    package: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")],
    challenges: Path,
    solutions: Path,
    budget: Duration = 60.0,
    rehearsal_budget: Duration = 60.0,
    options: str = "",
    python: str = sys.executable,
) -> int:
    """Run a package's notebook in a fresh environment without network, in a simulated Kaggle. Exit code 1 if it fails.

    Args:
        package: What `arc-trm package --image bare --out DIR` made.
        challenges: A Kaggle challenges file, used as the hidden tasks and as the other splits.
        solutions: Their solutions, for the score of the rehearsal.
        budget: Wall clock of the scored run.
        rehearsal_budget: Wall clock of the rehearsal.
        options: More options of `python -m submission.kaggle`, as one argument: --options="--fit-steps 4".
        python: The Python of the fresh environment, of the version that the wheels are for.
    """
    faults = check_package(package, challenges, solutions, budget, rehearsal_budget, options, python)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    print(f"{package}: package check {'failed' if faults else 'passed'}")
    return 1 if faults else 0


def main() -> int:
    """The command line; 0 passed, 1 failed or invalid input, 2 usage."""
    return run_command(command, "submission.package.check")


if __name__ == "__main__":
    raise SystemExit(main())
