"""The sockets through which the kernel is asked about links, and tells of their changes."""

import contextlib
import errno
import os
import socket
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Self

from exporter.network.counters import InterfaceCounters
from exporter.network.netlink import (
    NLM_F_DUMP_INTERRUPTED,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_NEWLINK,
    RTM_NEWSTATS,
    Link,
    LinkEvent,
    Message,
    NamespaceGone,
    NetlinkError,
    Request,
    counters_request,
    links_request,
    namespace_request,
    parse_events,
    parse_link,
    parse_namespace,
    parse_stats,
    raise_error,
    split_messages,
)

_GROUP_LINK, _GROUP_NSID = 1, 28
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33

_RECEIVE_BYTES = 1 << 16
_EVENT_BUFFER_BYTES = 8 << 20
"""Room for some 2,000 messages, which is 80 containers that start or stop while nobody reads."""
_ANSWER_SECONDS = 5.0
_DUMP_TRIES = 5
_QUESTIONS_AT_ONCE = 64

_Answers = list[tuple[bytes, Message]]


class Netlink:
    """A socket for questions. The kernel answers under its lock of all links: ask in a thread, not on the loop."""

    def __init__(self) -> None:
        """Raises OSError where there is no netlink, or a sandbox forbids it."""
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def links(self) -> tuple[list[Link], bool]:
        """All links of this namespace with their counters, and whether the list is surely whole.

        The kernel says when links came or went in the middle of a list; it is then tried again a few times.
        """
        links: list[Link] = []
        for _ in range(_DUMP_TRIES):
            answers = self._ask(links_request())
            events = [parse_link(data, m.start, m.end) for data, m in answers if m.type == RTM_NEWLINK]
            links = [event.link for event in events if event is not None]
            if not any(message.flags & NLM_F_DUMP_INTERRUPTED for _, message in answers):
                return links, True
        return links, False

    def counters(self, ifindexes: Collection[int]) -> dict[int, InterfaceCounters]:
        """The counters of these links, each in its own view; links that don't exist are left out."""
        if len(ifindexes) > _QUESTIONS_AT_ONCE:
            answers = self._ask(counters_request())
        else:
            answers = self._ask_each([counters_request(ifindex) for ifindex in ifindexes])
        stats = [parse_stats(data, m.start, m.end) for data, m in answers if m.type == RTM_NEWSTATS]
        return {found[0]: found[1] for found in stats if found is not None and found[0] in ifindexes}

    def namespace_id(self, *, pid: int | None = None, descriptor: int | None = None) -> int | None:
        """The id that this namespace has for that of a process, or for an open `/proc/<pid>/ns/net`.

        None if it has none: the kernel gives one out as soon as a link here has its other end there. The
        process id is one of this process's own pid namespace; no privilege is needed.

        Raises NetlinkError if there is no such process.
        """
        for data, message in self._ask(namespace_request(pid=pid, descriptor=descriptor)):
            return parse_namespace(data, message.start, message.end)
        return None

    def namespace_of(self, process: Path) -> int | None:
        """Likewise for `<procfs>/<pid>`, where procfs may be of another pid namespace than this process's own.

        Raises ProcessLookupError if the process is gone; PermissionError if its namespace can't be told, because
        procfs is of another pid namespace and this process may not trace the other.
        """
        try:
            descriptor = os.open(process / "ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ProcessLookupError(errno.ESRCH, "no such process", str(process)) from None
        except PermissionError:
            if (process.parent / "self").readlink().name != str(os.getpid()):
                raise
            return self._namespace_of_pid(int(process.name))
        try:
            return self.namespace_id(descriptor=descriptor)
        finally:
            os.close(descriptor)

    def _namespace_of_pid(self, pid: int) -> int | None:
        try:
            return self.namespace_id(pid=pid)
        except NetlinkError as error:
            raise ProcessLookupError(error.errno, error.strerror) from None

    def _ask(self, request: Request) -> _Answers:
        """Ask one question that has any number of answers and an end."""
        self._send([request])
        answers: _Answers = []
        while True:
            data = self._socket.recv(_RECEIVE_BYTES)
            for message in split_messages(data):
                if message.sequence != self._sequence:
                    continue  # left over from a question that was given up
                if message.type in (NLMSG_DONE, NLMSG_ERROR):
                    raise_error(data, message.start)
                    return answers
                answers.append((data, message))

    def _ask_each(self, requests: Sequence[Request]) -> _Answers:
        """Ask questions that have one answer each, which may be an error."""
        before = self._sequence
        self._send(requests)
        answers: _Answers = []
        while len(answers) < len(requests):
            data = self._socket.recv(_RECEIVE_BYTES)
            answers += [(data, message) for message in split_messages(data) if message.sequence > before]
        return answers

    def _send(self, requests: Sequence[Request]) -> None:
        datagram = b"".join(
            request.pack(sequence) for sequence, request in enumerate(requests, self._sequence + 1)
        )
        self._sequence += len(requests)
        if datagram:
            self._socket.sendto(datagram, (0, 0))


def open_events() -> socket.socket:
    """A non-blocking socket that receives a message for each change of a link of this namespace.

    Raises OSError where there is no netlink, or a sandbox forbids it.
    """
    events = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    with contextlib.ExitStack() as opened:
        opened.enter_context(events)
        try:
            events.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _EVENT_BUFFER_BYTES)
        except PermissionError:  # it needs CAP_NET_ADMIN; without it, as much as the system allows everyone
            events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _EVENT_BUFFER_BYTES)
        events.bind((0, 0))
        for group in (_GROUP_LINK, _GROUP_NSID):
            events.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        opened.pop_all()
    return events


def receive_events(events: socket.socket) -> list[LinkEvent | NamespaceGone]:
    """Read one datagram.

    Raises BlockingIOError if there is none, another OSError (ENOBUFS, or NetlinkError) if messages were lost.
    """
    data, (port, _) = events.recvfrom(_RECEIVE_BYTES)
    return parse_events(data) if port == 0 else []  # from the kernel, not from another process
