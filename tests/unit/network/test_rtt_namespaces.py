import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.network.rtt_namespaces import DiagNamespace, Sight, Sighting
from exporter.network.sock_diag import Connection, DiagSocket


class FakeDiag(DiagSocket):
    """Answers with what it is told to, one connection at a time."""

    def __init__(self) -> None:
        self.answer: dict[int, int] = {}
        self.walks = 0
        self.closed = False

    def established(self) -> Iterator[list[Connection]]:
        self.walks += 1
        for cookie, acknowledged in list(self.answer.items()):
            yield [Connection(cookie, b"", b"", 1000, acknowledged)]

    def close(self) -> None:
        self.closed = True


class Folder:
    """A `/proc/<pid>` of which the segments that arrived are told."""

    def __init__(self, path: Path) -> None:
        (path / "net").mkdir(parents=True)
        self._snmp = path / "net/snmp"
        self.descriptor = os.open(path, os.O_RDONLY)
        self.segments(0)

    def segments(self, number: int, *, established: int = 1) -> None:
        self._snmp.write_text(f"Tcp: InSegs OutSegs CurrEstab\nTcp: {number} 0 {established}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "7")


@pytest.fixture
def diag() -> FakeDiag:
    return FakeDiag()


@pytest.fixture
def namespace(folder: Folder, diag: FakeDiag) -> Iterator[DiagNamespace]:
    made = DiagNamespace(Sight(1, folder.descriptor))
    made.diag = diag
    yield made
    made.close()


def seen(namespace: DiagNamespace, *, over: bool = False) -> list[int]:
    return [connection.cookie for connection in namespace.look(lambda: over)]


def test_the_first_look_only_takes_note_of_connections_of_unknown_age(
    namespace: DiagNamespace, diag: FakeDiag
) -> None:
    diag.answer = {1: 500}
    assert seen(namespace) == []


def test_a_connection_counts_when_its_peer_acknowledged_data_since_and_an_idle_one_does_not(
    namespace: DiagNamespace, diag: FakeDiag, folder: Folder
) -> None:
    diag.answer = {1: 500, 2: 500}
    seen(namespace)
    diag.answer = {1: 500, 2: 501}
    folder.segments(1)
    assert seen(namespace) == [2]
    folder.segments(2)
    assert seen(namespace) == []


def test_a_new_connection_counts_with_the_time_of_its_handshake(
    namespace: DiagNamespace, diag: FakeDiag, folder: Folder
) -> None:
    seen(namespace)
    diag.answer = {3: 0}
    folder.segments(1)
    assert seen(namespace) == [3]


def test_a_namespace_in_which_no_segment_arrived_is_not_asked(namespace: DiagNamespace, diag: FakeDiag) -> None:
    seen(namespace)
    diag.answer = {1: 1}
    assert seen(namespace) == []
    assert diag.walks == 1


def test_a_look_that_ran_out_of_time_is_taken_up_where_it_ended(
    namespace: DiagNamespace, diag: FakeDiag, folder: Folder
) -> None:
    diag.answer = {1: 0, 2: 0, 3: 0}
    seen(namespace)
    diag.answer = {1: 1, 2: 1, 3: 1}
    folder.segments(1)
    looks = [seen(namespace, over=True) for _ in range(4)]
    assert looks == [[1], [2], [3], []]
    assert diag.walks == 2
    folder.segments(2)
    assert seen(namespace) == []


def test_a_process_that_is_gone_is_passed_over(tmp_path: Path, diag: FakeDiag) -> None:
    empty = tmp_path / "8"
    empty.mkdir()
    namespace = DiagNamespace(Sight(1, os.open(empty, os.O_RDONLY)))
    namespace.diag = diag
    assert seen(namespace) == []
    namespace.close()
    assert diag.closed


def test_a_namespace_without_connections_needs_no_socket_and_what_then_comes_is_new(
    folder: Folder, diag: FakeDiag
) -> None:
    folder.segments(0, established=0)
    namespace = DiagNamespace(Sight(1, folder.descriptor))
    assert seen(namespace) == []
    assert not namespace.wants_diag
    folder.segments(5)
    assert seen(namespace) == []
    assert namespace.wants_diag
    namespace.diag = diag
    diag.answer = {1: 0}
    assert seen(namespace) == [1]
    assert not namespace.wants_diag
    namespace.close()


def test_a_new_namespace_is_kept_and_a_known_one_only_seen() -> None:
    directory = os.open("/proc/self", os.O_RDONLY)
    sight = Sighting(set())(directory)
    inode = os.stat("/proc/self/ns/net").st_ino
    assert sight.inode == inode
    namespace = DiagNamespace(sight)
    descriptor = namespace.open()
    assert os.stat(descriptor).st_ino == inode
    os.close(descriptor)
    namespace.close()
    assert Sighting({inode})(directory) == Sight(inode)
    os.close(directory)


def test_a_namespace_that_may_not_be_seen_is_told_from_one_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        Sighting(set())(directory)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "stat", refuse)
    assert Sighting(set())(directory) == Sight(0)
    os.close(directory)
