"""Files that are nearly valid are loaded as they are or refused in one line; no other exception, whatever they hold.

FUZZ_EXAMPLES is the number of inputs for each target. With figures, among them how many were loaded:

    FUZZ_EXAMPLES=4000 .venv/bin/python -m pytest tests/fuzz --hypothesis-show-statistics
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import files
from tests.fuzz.targets import EXAMPLES, Targets

pytestmark = pytest.mark.slow

COUNT = int(os.environ.get("FUZZ_EXAMPLES", "150"))
MEMORY = "/dev/shm"


@pytest.fixture(scope="module")
def targets() -> Iterator[Targets]:
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as folder:
        yield Targets(Path(folder))


NAMES = ["tasks", "task", "lenient tasks", "solutions", "truths", "truths of tasks", "submission"]
NAMES += ["checked submission", "candidates", "candidates of a run", "run"]


def test_every_target_is_fuzzed(targets: Targets) -> None:
    assert list(targets.by_name) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_target_loads_its_example(name: str, targets: Targets) -> None:
    """Or fuzzing would test refusals alone."""
    assert targets.run(name, json.dumps(EXAMPLES[targets.by_name[name][0]]).encode()) == "loaded"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=COUNT)
@given(data=st.data())
def test_any_file_is_loaded_or_refused(name: str, data: st.DataObject, targets: Targets) -> None:
    event(targets.run(name, data.draw(files(targets.by_name[name][0]))))
