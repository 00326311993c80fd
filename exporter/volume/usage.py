"""The exporter's side of the walker: asks, waits no longer than allowed, and replaces a walker that hangs."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.volume import walker

_LONGEST_ANSWER_BYTES = 65536


class MeasureError(Exception):
    """A path can't be measured; `reason` is the value of the metric's label, the message is for the log."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Space:
    """Size and free space of a file system. `available_bytes` is what unprivileged processes may use."""

    size_bytes: int
    free_bytes: int
    available_bytes: int
    inodes: int
    inodes_free: int

    @property
    def is_told(self) -> bool:
        """Whether the file system tells it: a tmpfs without a limit, ramfs and some of FUSE say 0, used or not."""
        return self.size_bytes > 0


@dataclass(frozen=True, slots=True)
class Project:
    """A project quota on a directory. What it counts is None without the right to ask for it."""

    is_own: bool
    used_bytes: int | None = None
    inodes_used: int | None = None


@dataclass(frozen=True, slots=True)
class DirectorySpace:
    """The space of a directory, which is its quota's where it has one, and what else is told about it."""

    space: Space
    seconds: float
    project: Project | None = None
    has_encrypted_names: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a walk found, and how long it took."""

    used_bytes: int
    inodes_used: int
    seconds: float


class Walker:
    """One child process, started when it is needed first, and again after it died or was killed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: asyncio.subprocess.Process | None = None
        self._dying: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def space(self, path: str, timeout_seconds: float) -> Space:
        """Ask the file system of a path for its space.

        Raises MeasureError with the reason missing, permission, io, timeout or died.
        """
        return parse_space(await self._ask({"operation": "space", "path": path}, timeout_seconds))

    async def directory(self, path: str, timeout_seconds: float) -> DirectorySpace:
        """Ask for the space of a directory, with its quota. Raises MeasureError like `space`."""
        return parse_directory(await self._ask({"operation": "directory", "path": path}, timeout_seconds))

    async def usage(
        self, path: str, timeout_seconds: float, nested: Sequence[str] = (), known_inodes: int = 0
    ) -> Measurement:
        """Walk a directory, but not what is mounted inside. Raises MeasureError like `space`.

        `known_inodes` is how many it had when it was last walked.
        """
        is_large = known_inodes > walker.LARGE_TREE_INODES
        request = {"operation": "usage", "path": path, "nested": list(nested), "is_large": is_large}
        return parse_measurement(await self._ask(request, timeout_seconds))

    async def close(self) -> None:
        """Kill the child with all that it started; one that hangs in the kernel is left to it."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await process.wait()
            self._dying = process

    async def _ask(self, request: dict[str, Any], timeout_seconds: float) -> bytes:
        async with self._turn:
            answered = False
            try:
                async with asyncio.timeout(timeout_seconds):
                    found = await self._exchange(json.dumps(request))
                answered = True
            except TimeoutError:
                raise MeasureError("timeout", f"not measured within {timeout_seconds:g} s") from None
            finally:
                if not answered:
                    # Its answer would come too late, for a question that nobody asks any more.
                    await self.close()
        return found

    async def _exchange(self, line: str) -> bytes:
        process = self._process
        if process is None:
            if self._dying is not None and self._dying.returncode is None:
                # Another one would hang in the kernel like it, one for each question.
                raise MeasureError("timeout", "the file system does not answer")
            process = self._process = await self._start()
        if process.stdin is None or process.stdout is None:
            raise MeasureError("died", "the walker has no pipes")
        try:
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()
            answer = await process.stdout.readline()
        except (OSError, ValueError):
            answer = b""
        if not answer.endswith(b"\n"):
            raise MeasureError("died", f"walker {self._name} ended while it measured")
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                walker.__file__,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LONGEST_ANSWER_BYTES,
                start_new_session=True,
            )
        except OSError as error:
            raise MeasureError("died", f"walker {self._name} can't be started: {error}") from None


async def close_all(walkers: Iterable[Walker]) -> None:
    """End the children of several at a time: those that hang in the kernel don't add up."""
    async with asyncio.TaskGroup() as group:
        for one in walkers:
            group.create_task(one.close(), name="end of a walker")


def parse_space(answer: bytes) -> Space:
    """Read a walker's answer to a question for space.

    Raises MeasureError with the reason that it gives, or `io` if it is no such answer.
    """
    with _refusing_nonsense():
        return _space(_found(answer))


def parse_directory(answer: bytes) -> DirectorySpace:
    """Read an answer to a question for a directory's space. Raises MeasureError like `parse_space`."""
    with _refusing_nonsense():
        found = _found(answer)
        project = Project(**found["project"]) if found["project"] else None
        return DirectorySpace(_space(found), float(found["seconds"]), project, bool(found["has_encrypted_names"]))


def parse_measurement(answer: bytes) -> Measurement:
    """Read an answer to a question for usage. Raises MeasureError like `parse_space`."""
    with _refusing_nonsense():
        found = _found(answer)
        return Measurement(_count(found["used_bytes"]), _count(found["inodes_used"]), float(found["seconds"]))


@contextlib.contextmanager
def _refusing_nonsense() -> Iterator[None]:
    """The walker is another program: after an upgrade it may be of another version than this one."""
    try:
        yield
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise MeasureError("io", f"the walker's answer can't be read: {error}") from None


def _found(answer: bytes) -> dict[str, Any]:
    found = json.loads(answer)
    if not isinstance(found, dict):
        raise TypeError("no object")
    if "error" in found:
        raise MeasureError(str(found["error"]), str(found.get("message")))
    return found


def _space(found: dict[str, Any]) -> Space:
    return Space(**{name: _count(found[name]) for name in Space.__slots__})


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"no count: {value!r}")
    return value
