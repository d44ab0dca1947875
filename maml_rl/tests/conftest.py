"""Fixtures that several test files use; lets MuJoCo draw without a screen."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import torch

from maml_rl.utils.graphics import choose_gl

choose_gl()  # before any test imports mujoco

collect_ignore = ["outside"]  # modules that register themselves when they are imported


@pytest.fixture(scope="session", autouse=True)
def hear_interrupts() -> None:
    """Undo an ignored Ctrl-C, which a shell hands down to what it starts in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute in one thread, as training does: the tensors here are small."""
    torch.set_num_threads(1)


@pytest.fixture
def float64() -> Iterator[None]:
    """Make float64 the default type: `tiny_policy` then builds policies in it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
