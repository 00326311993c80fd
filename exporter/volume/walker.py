"""The child process that touches volumes: it walks directories and asks file systems for their space.

It is a program of its own, run by its path with nothing but the standard library, at the lowest priority for
processor and disk. A request is a line of JSON on standard input, its answer a line on standard output. It may
hang on a dead file server or be killed at any time: that is what it is for, the exporter never is.

What it counts is what `du -s -x` counts: allocated blocks, each inode once, one file system, no symbolic link
followed. It opens everything relative to open directories, so that a container that renames directories while
they are walked leads it nowhere else.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import stat
import sys
import time

_BLOCK_BYTES = 512
"""The unit of st_blocks, whatever the file system's block size (stat(2))."""

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_REASONS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
}
_PR_SET_PDEATHSIG = 1
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_IDLE = 3 << 13
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}


def usage(path: str) -> tuple[int, int]:
    """Allocated bytes and inodes of a tree, its root included.

    Memory grows with the depth of the tree and with hard links whose other names are not met yet, not with
    the number of files. What vanishes while it is walked is not counted.

    Raises OSError if any directory can't be read: a part is never reported as the whole.
    """
    root = os.open(path, _OPEN_DIRECTORY)
    directories = [root]
    entries = [os.scandir(root)]
    top = os.fstat(root)
    device, blocks, inodes = top.st_dev, top.st_blocks, 1
    links: dict[int, int] = {}
    try:
        while entries:
            entry = next(entries[-1], None)
            if entry is None:
                entries.pop().close()
                os.close(directories.pop())
                continue
            try:
                status = entry.stat(follow_symlinks=False)
                if status.st_dev != device:
                    continue
                is_directory = stat.S_ISDIR(status.st_mode)
                if status.st_nlink > 1 and not is_directory and _met_before(links, status):
                    continue
                if is_directory:
                    child = os.open(entry.name, _OPEN_DIRECTORY, dir_fd=directories[-1])
                    directories.append(child)
                    entries.append(os.scandir(child))
            except OSError as error:
                if error.errno in _VANISHED:
                    continue
                raise
            blocks += status.st_blocks
            inodes += 1
    finally:
        for opened in entries:
            opened.close()
        for descriptor in directories:
            os.close(descriptor)
    return blocks * _BLOCK_BYTES, inodes


def space(path: str) -> dict[str, int]:
    """Size and free space of the file system that a path lies on, in bytes and inodes."""
    found = os.statvfs(path)
    return {
        "size_bytes": found.f_blocks * found.f_frsize,
        "free_bytes": found.f_bfree * found.f_frsize,
        "available_bytes": found.f_bavail * found.f_frsize,
        "inodes": found.f_files,
        "inodes_free": found.f_favail,
    }


def answer(request: dict[str, str]) -> dict[str, object]:
    """Do what a request asks for: `space`, or `usage` with `space`; an error becomes its reason."""
    started = time.monotonic()
    try:
        result: dict[str, object] = dict(space(request["path"]))
        if request["operation"] == "usage":
            result["used_bytes"], result["inodes_used"] = usage(request["path"])
    except OSError as error:
        result = {"error": _REASONS.get(error.errno or 0, "io"), "message": error.strerror or str(error)}
    result["seconds"] = time.monotonic() - started
    return result


def _met_before(links: dict[int, int], status: os.stat_result) -> bool:
    """Whether another name of this inode was counted already; forgets an inode once all its names were met."""
    left = links.get(status.st_ino)
    if left is None:
        links[status.st_ino] = status.st_nlink - 1
        return False
    if left > 1:
        links[status.st_ino] = left - 1
    else:
        del links[status.st_ino]
    return True


def _lower_priority() -> None:
    """Give way to everything else, and end when the exporter ends."""
    os.nice(19)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_IDLE)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a descriptor for each level of depth


def main() -> None:
    """Answer requests until standard input ends."""
    _lower_priority()
    for line in sys.stdin:
        json.dump(answer(json.loads(line)), sys.stdout)
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
