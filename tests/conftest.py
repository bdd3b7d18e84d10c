"""What all tests share."""

import signal
from collections.abc import Iterator

import hypothesis
import pytest

import recurra
from recurra import _core

# The same examples in every run, and how long one takes says nothing on a shared machine.
# `--hypothesis-profile=search` looks for others.
hypothesis.settings.register_profile(
    "search",
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "recurra", hypothesis.settings.get_profile("search"), derandomize=True
)
hypothesis.settings.load_profile("recurra")


def pytest_report_header() -> str:
    return f"recurra: {_core.version()}, {_core.isa()}, {recurra.get_num_threads()} threads"


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Weights that a test draws are the same in every run, whatever ran before it."""
    recurra.manual_seed(0)


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    """A test that sets the number of threads sets it for itself alone."""
    before = recurra.get_num_threads()
    yield
    if recurra.get_num_threads() != before:
        recurra.set_num_threads(before)


def pytest_configure() -> None:
    """Interrupts arrive: a shell starts what runs in the background with them ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
