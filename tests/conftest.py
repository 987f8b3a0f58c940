"""Fixtures and options shared by all tests."""

from pathlib import Path

import pytest
import torch

SHIPPED_GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=SHIPPED_GOLDEN,
        help="folder of CASE.json + CASE.safetensors pairs recorded from the published models",
    )


@pytest.fixture(params=["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and CUDA as well wherever a card is present."""
    return torch.device(request.param)
