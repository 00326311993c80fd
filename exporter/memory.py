"""Keeps the C library from holding on to memory: what a long answer took, and what each thread once needed."""

import contextlib
import ctypes

_M_ARENA_MAX = -8
"""Number of the parameter of mallopt(3); not every C library has the call."""


def share_arenas() -> None:
    """Let all threads use one arena: each has one of its own otherwise, which never gets smaller.

    The exporter's threads take turns with the interpreter's lock, so they would not wait for each other less.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def return_free_memory() -> None:
    """Give the kernel back what is free (malloc_trim(3))."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
