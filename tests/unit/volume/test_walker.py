import fcntl
import os
import shutil
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from exporter.volume import walker
from exporter.volume.walker import answer, has_encrypted_names, project, space, usage, walk, walk_with_find

FIND = shutil.which("find") or "find"


def du(path: Path) -> tuple[int, int]:
    def run(*options: str) -> int:
        out = subprocess.run(["du", "-s", "-x", *options, str(path)], check=True, capture_output=True, text=True)
        return int(out.stdout.split()[0])

    return run("-B1"), run("--inodes")


def test_it_counts_what_du_counts(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    (root / "file").write_bytes(b"x" * 20_000_000)
    with (root / "sparse").open("wb") as sparse:
        sparse.truncate(2**30)
    (root / "one").write_bytes(b"y" * 100_000)
    os.link(root / "one", root / "two")
    (root / "sub").mkdir()
    os.link(root / "one", root / "sub" / "three")
    (tmp_path / "outside").write_bytes(b"z" * 5_000_000)
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "folder-link").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    assert walk(str(root)) == walk_with_find(FIND, str(root)) == du(root)


def test_an_empty_volume_is_its_root(tmp_path: Path) -> None:
    assert usage(str(tmp_path)) == du(tmp_path)


def test_a_hard_link_from_outside_is_counted_once(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    (tmp_path / "outside").write_bytes(b"z" * 5_000)
    os.link(tmp_path / "outside", root / "inside")
    assert walk(str(root)) == walk_with_find(FIND, str(root)) == du(root)


def test_names_of_any_bytes_and_deep_trees_are_walked(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    os.mkdir(root + b"/\xff\n bad")
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 20, dir_fd=folder)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    assert usage(str(tmp_path))[1] == 302
    assert walk_with_find(FIND, str(tmp_path)) == usage(str(tmp_path))


def test_large_trees_are_walked_with_find_and_counted_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        (tmp_path / f"{number}").write_bytes(b"x" * number * 100)
    for number in range(50):
        os.link(tmp_path / "299", tmp_path / f"link{number}")
    monkeypatch.setattr(walker, "LARGE_TREE_INODES", 100)
    asked: list[str] = []

    def counting(find: str, *arguments: object) -> tuple[int, int] | None:
        asked.append(find)
        return walk_with_find(find, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(walker, "walk_with_find", counting)
    assert usage(str(tmp_path)) == du(tmp_path)
    assert asked


def test_without_gnu_find_large_trees_are_walked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tmp_path / f"{number}").write_bytes(b"x" * 5000)
    monkeypatch.setattr(walker, "LARGE_TREE_INODES", 10)
    other = tmp_path / "bin"
    other.mkdir()
    (other / "find").write_text("#!/bin/sh\necho BusyBox\n")
    (other / "find").chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}:{os.environ['PATH']}")
    monkeypatch.setattr(walker, "_programs", {})
    assert usage(str(tmp_path)) == du(tmp_path)


def test_what_is_mounted_inside_is_left_out(tmp_path: Path) -> None:
    for name in ("own", "deep/mounted [1]*/below", "deep/mounted [1]*x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"x" * 10_000)
    whole = du(tmp_path)
    inside = du(tmp_path / "deep/mounted [1]*")
    expected = (whole[0] - inside[0], whole[1] - inside[1])
    assert walk(str(tmp_path), ["deep/mounted [1]*"]) == expected
    assert walk_with_find(FIND, str(tmp_path), ["deep/mounted [1]*"]) == expected


def test_a_single_file_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    assert usage(str(tmp_path / "file")) == (du(tmp_path / "file")[0], 1)
    os.mkfifo(tmp_path / "pipe")
    assert usage(str(tmp_path / "pipe")) == (0, 1)


@pytest.mark.parametrize("with_find", [False, True])
def test_a_tree_that_changes_all_the_time_gives_no_error(tmp_path: Path, with_find: bool) -> None:  # noqa: FBT001
    done = threading.Event()

    def change() -> None:
        number = 0
        while not done.is_set():
            number += 1
            folder = tmp_path / f"d{number % 7}"
            folder.mkdir(exist_ok=True)
            for name in range(20):
                (folder / f"{number}-{name}").write_bytes(b"x" * 100)
            folder.rename(tmp_path / f"renamed{number}")
            if number > 5:
                shutil.rmtree(tmp_path / f"renamed{number - 5}")

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            blocks, inodes = (
                (walk_with_find(FIND, str(tmp_path)) or walk(str(tmp_path))) if with_find else walk(str(tmp_path))
            )
            assert blocks > 0
            assert 1 <= inodes < 500
    finally:
        done.set()
        thread.join()


def test_a_missing_volume_has_a_reason(tmp_path: Path) -> None:
    for operation in ("usage", "space", "directory"):
        found = answer({"operation": operation, "path": str(tmp_path / "none")})
        assert found["error"] == "missing"


def test_a_symbolic_link_in_the_place_of_the_root_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    for is_large in (False, True):
        request: dict[str, object] = {"operation": "usage", "path": str(tmp_path / "link"), "is_large": is_large}
        assert answer(request)["error"] in ("missing", "io")


def test_space_is_what_the_file_system_says(tmp_path: Path) -> None:
    found, truth = space(str(tmp_path)), os.statvfs(tmp_path)
    assert found["size_bytes"] == truth.f_blocks * truth.f_frsize
    assert found["inodes"] == truth.f_files


def test_descriptors_are_given_back_also_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / f"d{number}").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    usage(str(tmp_path))
    real_open = os.open

    def refuse(path: str, flags: int, *arguments: object, **keywords: object) -> int:
        if path == "d3":
            raise PermissionError(13, "Permission denied")
        return real_open(path, flags, *arguments, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    assert answer({"operation": "usage", "path": str(tmp_path)})["error"] == "permission"
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before


class Kernel:
    """The boundary to the kernel for quotas: what it would answer, in the bytes of its structures."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, projects: dict[str, tuple[int, int]]) -> None:
        """`projects` are flags and project ids by the name of the directory."""
        real = fcntl.ioctl

        def ioctl(descriptor: int, request: int, attributes: bytearray) -> int:
            if request != 0x801C581F:
                return int(real(descriptor, request, attributes))
            name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
            flags, number = projects.get(name, (0, 0))
            attributes[:] = struct.pack("=5I8x", flags, 0, 1, number, 0)
            return 0

        monkeypatch.setattr(fcntl, "ioctl", ioctl)


def volume(tmp_path: Path) -> str:
    (tmp_path / "data" / "_data").mkdir(parents=True)
    return str(tmp_path / "data" / "_data")


def test_a_directory_that_begins_a_project_has_a_quota_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Kernel(monkeypatch, {"_data": (0x200, 7)})
    monkeypatch.setattr(walker, "_quota_usage", lambda _, number: (7340032, 3) if number == 7 else None)
    assert project(volume(tmp_path)) == {"is_own": True, "used_bytes": 7340032, "inodes_used": 3}


def test_a_directory_inside_a_project_shares_its_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Kernel(monkeypatch, {"_data": (0x200, 7), "data": (0x200, 7)})
    monkeypatch.setattr(walker, "_quota_usage", lambda *_: None)
    assert project(volume(tmp_path)) == {"is_own": False}


@pytest.mark.parametrize("attributes", [(0, 7), (0x200, 0), (0, 0)])
def test_without_a_project_that_is_inherited_there_is_no_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attributes: tuple[int, int]
) -> None:
    Kernel(monkeypatch, {"_data": attributes})
    assert project(volume(tmp_path)) == {}


def test_a_file_system_without_projects_and_a_single_file_have_no_quota(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert project(str(tmp_path / "file")) == {}
    assert project("/proc") == {}
    assert not has_encrypted_names("/proc")


def test_the_structures_have_the_kernels_sizes() -> None:
    assert walker._FSXATTR.size == 28
    assert walker._DQBLK.size == 72
