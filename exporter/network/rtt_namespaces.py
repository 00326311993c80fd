"""The network namespaces whose TCP connections are looked at: which there are, and what is new in them.

The kernel's work for a look grows with the table of the whole machine's connections, some half a millisecond
for each namespace however few it has; so a namespace without connections is not asked, nor one in which no
segment arrived.

An open diag socket keeps its network namespace alive, with what is still in it. The veth pair of a bridge
network is deleted by the engine itself and does not wait for that; to let go of the rest, a socket has to be
closed soon after the container's process is gone, also while the engine is away and tells nothing.
"""

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from exporter.network.procfs import read_file
from exporter.network.sock_diag import Connection, DiagSocket
from exporter.network.tcp import parse_activity


class Sight(NamedTuple):
    """What `/proc/<pid>` shows of its network namespace: its inode number, 0 if that may not be known.

    Of a namespace that wasn't known yet, also a descriptor of `/proc/<pid>`, to be closed by who gets it.
    """

    inode: int
    directory: int = -1


class Sighting:
    """Sees the namespaces of open `/proc/<pid>`."""

    def __init__(self, known: set[int]) -> None:
        self._known = known

    def __call__(self, directory: int) -> Sight:
        """Raises OSError if the process is gone."""
        try:
            inode = os.stat("ns/net", dir_fd=directory).st_ino
        except PermissionError:
            return Sight(0)
        return Sight(inode) if inode in self._known else Sight(inode, os.dup(directory))


class DiagNamespace:
    """A namespace, with its diag socket once it has needed one."""

    def __init__(self, sight: Sight) -> None:
        """Takes over the descriptor of `/proc/<pid>`."""
        self.inode = sight.inode
        self.looked_at = 0.0
        """When it was last asked, for whoever takes turns; kept here, not used."""
        self.diag: DiagSocket | None = None
        self.wants_diag = False
        """Whether the last look found connections, but no socket to ask for them."""
        self._directory = sight.directory
        self._received: int | None = None
        self._before: dict[int, int] | None = None
        self._now: dict[int, int] = {}
        self._walk: Iterator[list[Connection]] | None = None

    def open(self) -> int:
        """A descriptor of the namespace, by which it can be entered. Raises OSError if the process is gone."""
        return os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)

    def look(self, is_over: Callable[[], bool]) -> Iterator[Connection]:
        """The connections that are new, or of which the peer acknowledged data, since the last whole look.

        The first look only takes note of what is there. When the time is over the rest is left for the next call.

        Raises OSError if the kernel does not answer as it should; then the socket is of no more use.
        """
        if self._walk is None and not self._begin():
            return
        for connections in self._walk or ():
            for connection in connections:
                known = -1 if self._before is None else self._before.get(connection.cookie, -1)
                self._now[connection.cookie] = connection.acknowledged_bytes
                if self._before is not None and connection.acknowledged_bytes > known:
                    yield connection
            if is_over():
                return
        self._before, self._walk = self._now, None

    def close(self) -> None:
        """Let go of the namespace."""
        if self.diag is not None:
            self.diag.close()
        os.close(self._directory)

    def _begin(self) -> bool:
        """Whether there is something to ask for, and a socket."""
        self.wants_diag = False
        try:
            received, established = parse_activity(read_file(self._directory, "net/snmp"))
        except OSError:
            return False  # the process is gone
        if received is not None and received == self._received:
            return False
        if established == 0:
            self._received, self._before = received, {}
            return False
        if self.diag is None:
            self.wants_diag = True
            return False
        self._received, self._now = received, {}
        self._walk = self.diag.established()
        return True
