"""Fixtures and options shared by all tests."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.accelerator import NAME, pretend_device

# How fast examples run, or are generated, depends on what else the machine is doing.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

ACCELERATOR = "cuda" if torch.cuda.is_available() else NAME
if ACCELERATOR == NAME:
    pretend_device()  # autograd knows only devices that were there at its first backward pass

SHIPPED_GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        type=Path,
        default=SHIPPED_GOLDEN,
        help="folder of CASE.json + CASE.safetensors pairs recorded from the published models",
    )


@pytest.fixture(scope="session", params=["cpu", ACCELERATOR])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and a card or where there is none the pretend accelerator."""
    return torch.device(request.param)


@pytest.fixture(scope="session", params=[ACCELERATOR])
def accelerator(request: pytest.FixtureRequest) -> torch.device:
    """A card, or where there is none the pretend accelerator, which counts waits."""
    return torch.device(request.param)
