"""The cache of compiled functions: damaged files and a full disk cost a compilation, not the run."""

import importlib.util
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from numba.core.caching import IndexDataCacheFile

SOURCE = "from kernels.jit import jit\n\n\n@jit()\ndef double(x):\n    return 2 * x\n"
numbers = count()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    (tmp_path / "doubling.py").write_text(SOURCE)
    return tmp_path / "doubling.py"


def double(source: Path) -> Any:
    """The compiled function, as a new process would have it, after a call."""
    spec = importlib.util.spec_from_file_location(f"doubling{next(numbers)}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.double(21) == 42
    return module.double


@pytest.mark.parametrize("left", [0, 10, 200])
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_cache_is_replaced(source: Path, suffix: str, left: int) -> None:
    double(source)
    (path,) = (source.parent / "__pycache__").glob(f"*.{suffix}")
    path.write_bytes(path.read_bytes()[:left])
    assert not double(source).stats.cache_hits
    assert double(source).stats.cache_hits


def test_a_full_disk_costs_the_cache(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "_open_for_write", full)
    double(source)
