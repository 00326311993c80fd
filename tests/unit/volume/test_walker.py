import os
import subprocess
from pathlib import Path

import pytest

from exporter.volume.walker import answer, space, usage


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
    assert usage(str(root)) == du(root)


def test_an_empty_volume_is_its_root(tmp_path: Path) -> None:
    assert usage(str(tmp_path)) == du(tmp_path)


def test_a_hard_link_from_outside_is_counted_once(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    (tmp_path / "outside").write_bytes(b"z" * 5_000)
    os.link(tmp_path / "outside", root / "inside")
    assert usage(str(root)) == du(root)


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


def test_a_missing_volume_has_a_reason(tmp_path: Path) -> None:
    found = answer({"operation": "usage", "path": str(tmp_path / "none")})
    assert found["error"] == "missing"


def test_a_symbolic_link_in_the_place_of_the_root_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    assert answer({"operation": "usage", "path": str(tmp_path / "link")})["error"] in ("missing", "io")


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
