"""Waiting for conditions instead of sleeping."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    condition: Callable[[], T], what: str, timeout_seconds: float = 10, pause_seconds: float = 0.05
) -> T:
    """Wait until a condition gives something true, and return it; fail and say what was waited for."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds} s: {what}")
        time.sleep(pause_seconds)


async def eventually_async(condition: Callable[[], T], what: str, timeout_seconds: float = 10) -> T:
    """The same for tests on the event loop."""
    deadline = time.monotonic() + timeout_seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_seconds} s: {what}")
        await asyncio.sleep(0.01)
    return result
