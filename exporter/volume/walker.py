"""The child process that touches volumes: it walks directories and asks file systems for their space.

It is a program of its own, run by its path with nothing but the standard library, at the lowest priority for
processor and disk. A request is a line of JSON on standard input, its answer a line on standard output. It may
hang on a dead file server or be killed at any time: that is what it is for, the exporter never is.

What it counts is what `du -s -x` counts: allocated blocks, each inode once, one file system, no symbolic link
followed. Small trees are walked here; it opens everything relative to open directories, so that a container that
renames directories while they are walked leads it nowhere else. Large ones are walked by GNU find, whose output is
summed up: that takes a third less processor time (bench/walk.py, docs/decisions/0003).
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

LARGE_TREE_INODES = 5_000
"""From here on the start of another program is repaid many times over."""

_FIND_OUTPUT_BYTES = 262144
_FIND_PAUSE_SECONDS = 0.02
"""Meanwhile find fills its pipe: to be woken for each of its writes of 4 KiB costs both sides processor time."""

_SECTORS_OF_ONE_BLOCK = 8
_NO_BLOCK, _ONE_BLOCK = b"\n0 ", b"\n8 "
"""How the walk with find writes inodes without blocks and with one of 4 KiB, and the next one's separator."""

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

# linux/fs.h. The numbers of _IOR are those of the processors that Docker runs on, all but mips and ppc alike.
_IOC_GETFLAGS = 0x80086601
_IOC_FSGETXATTR = 0x801C581F
_ENCRYPTED_FLAG = 0x0000_0800
_XFLAG_PROJECT_INHERIT = 0x0000_0200
_FSXATTR = struct.Struct("=5I8x")
# linux/quota.h
_QUOTACTL_FD = 443
_GET_PROJECT_QUOTA = (0x800007 << 8) | 2
_DQBLK = struct.Struct("=8QI4x")

_programs: dict[str, str | None] = {}


class _LargeTreeError(Exception):
    """A tree has more inodes than are walked here."""


def usage(path: str, nested: Sequence[str] = (), *, is_large: bool = False) -> tuple[int, int]:
    """Allocated bytes and inodes of a tree, its root included, or of a file.

    `nested` are mount points inside, relative to the tree: what is mounted there belongs to something else, also
    where it is a part of the same file system. Memory grows with the depth of the tree and with hard links whose
    other names are not met yet, not with the number of files. What vanishes while it is walked is not counted.
    `is_large` says that it is known to have more than `LARGE_TREE_INODES`.

    Raises OSError if any directory can't be read: a part is never reported as the whole.
    """
    find = gnu_find()
    if find is None:
        return walk(path, nested)
    if not is_large:
        with contextlib.suppress(_LargeTreeError):
            return walk(path, nested, LARGE_TREE_INODES)
    # find gives up where a directory above it is renamed, and can't be asked which error it met.
    found = walk_with_find(find, path, nested)
    return found if found is not None else walk(path, nested)


class _Descent:
    """The open directories from the root of a tree down to where a walk is; iterating gives their entries."""

    def __init__(self, path: str, nested: Sequence[str]) -> None:
        self._nested = {tuple(mounted.split("/")) for mounted in nested}
        self._names: list[str] = []
        self._directories = [os.open(path, _OPEN_DIRECTORY)]
        self._entries = [os.scandir(self._directories[0])]

    def close(self) -> None:
        """Close all directories."""
        while self._entries:
            self._leave()

    def __iter__(self) -> Iterator["os.DirEntry[str]"]:
        while self._entries:
            entry = next(self._entries[-1], None)
            if entry is None:
                self._leave()
            elif not (self._nested and (*self._names, entry.name) in self._nested):
                yield entry

    def root(self) -> os.stat_result:
        """The status of the root."""
        return os.fstat(self._directories[0])

    def enter(self, name: str) -> None:
        """Go on in a directory of the one where the walk is."""
        child = os.open(name, _OPEN_DIRECTORY, dir_fd=self._directories[-1])
        self._directories.append(child)
        self._entries.append(os.scandir(child))
        self._names.append(name)

    def _leave(self) -> None:
        self._entries.pop().close()
        os.close(self._directories.pop())
        if self._names:
            self._names.pop()


def walk(path: str, nested: Sequence[str] = (), most_inodes: int | None = None) -> tuple[int, int]:
    """`usage` without another program; raises _LargeTreeError when it meets more than `most_inodes`."""
    top = os.lstat(path)
    # A container may mount a file or a socket; a symbolic link in its place is left to fail as no directory.
    if not (stat.S_ISDIR(top.st_mode) or stat.S_ISLNK(top.st_mode)):
        return top.st_blocks * _BLOCK_BYTES, 1
    links: dict[int, int] = {}
    with contextlib.closing(_Descent(path, nested)) as descent:
        top = descent.root()
        blocks, inodes = top.st_blocks, 1
        for entry in descent:
            try:
                status = entry.stat(follow_symlinks=False)
                if status.st_dev != top.st_dev:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    descent.enter(entry.name)
                elif status.st_nlink > 1 and _met_before(links, status.st_ino, status.st_nlink):
                    continue
            except OSError as error:
                if error.errno in _VANISHED:
                    continue
                raise
            blocks += status.st_blocks
            inodes += 1
            if most_inodes is not None and inodes > most_inodes:
                raise _LargeTreeError
    return blocks * _BLOCK_BYTES, inodes


class FoundInodes:
    """The sum of what find prints, which comes in pieces that end anywhere.

    Of each inode its blocks, behind a separator, with inode number and links where it may have other names.
    """

    def __init__(self) -> None:
        self.blocks = self.inodes = 0
        self._links: dict[int, int] = {}
        self._rest = b""

    def add(self, output: bytes) -> None:
        """Take in a piece. Raises ValueError if it isn't what find prints."""
        whole, separator, self._rest = (self._rest + output).rpartition(b" ")
        whole += separator
        # Most inodes of large trees are empty or have one block: those are counted without being parsed.
        of_one_block = whole.count(_ONE_BLOCK)
        self.blocks += of_one_block * _SECTORS_OF_ONE_BLOCK
        self.inodes += of_one_block + whole.count(_NO_BLOCK)
        entries = whole.replace(_NO_BLOCK, b"").replace(_ONE_BLOCK, b"").decode("ascii").split()
        try:
            self.blocks += sum(map(int, entries))
            self.inodes += len(entries)
        except ValueError:  # some have several names
            for entry in entries:
                count, *inode_and_names = map(int, entry.split(":"))
                if not inode_and_names or not _met_before(self._links, *inode_and_names):
                    self.blocks += count
                    self.inodes += 1

    def end(self) -> None:
        """Take in the last inode. Raises ValueError likewise."""
        self.add(b" ")


def walk_with_find(find: str, path: str, nested: Sequence[str] = ()) -> tuple[int, int] | None:
    """`usage` by GNU find; None if it met any error."""
    # Its own way not to go where something is mounted; the mount point itself is not counted either.
    foreign = [word for mounted in nested for word in ("-path", f"./{_literal(mounted)}", "-prune", "-o")]
    # What most inodes are is asked first, and find writes text before a number with it, behind it by itself.
    of_one_name = ["-links", "1", "-printf", r" \n%b", "-o", "-type", "d", "-printf", r" \n%b", "-o"]
    command = [find, ".", "-ignore_readdir_race", "-xdev", *foreign, *of_one_name, "-printf", r" \n%b:%i:%n"]
    found = FoundInodes()
    root = os.open(path, _OPEN_DIRECTORY)  # find would follow a symbolic link in its place
    try:
        process = subprocess.Popen(  # noqa: S603 - a fixed program; no word of a user's is an option
            command,
            cwd=f"/proc/self/fd/{root}",
            env={"LC_ALL": "C"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
    finally:
        os.close(root)
    with process:
        if process.stdout is None:
            return None
        while output := process.stdout.read(_FIND_OUTPUT_BYTES):
            found.add(output)
            time.sleep(_FIND_PAUSE_SECONDS)
        found.end()
    return (found.blocks * _BLOCK_BYTES, found.inodes) if process.returncode == 0 and found.inodes else None


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


def project(path: str) -> dict[str, int | bool]:
    """A directory's project quota, empty if it belongs to no project that what is created in it joins.

    `is_own` says whether the project begins here: the directory above belongs to another, or none. Usage as the
    quota counts it, `used_bytes` and `inodes_used`, is there only with CAP_SYS_ADMIN (quotactl_fd(2), Linux 5.14).
    The limit needs no right: of such a directory statvfs(3) tells the quota's size and free space instead of the
    file system's (fs/xfs/xfs_qm_bhv.c: xfs_qm_statvfs; fs/ext4/super.c: ext4_statfs_project).

    Raises OSError if the directory can't be opened.
    """
    try:
        directory = os.open(path, _OPEN_DIRECTORY)
    except NotADirectoryError:  # a file that a container mounts
        return {}
    try:
        flags, number = _project_of(directory)
        if not number or not flags & _XFLAG_PROJECT_INHERIT:
            return {}
        found: dict[str, int | bool] = {"is_own": _parents_project(directory) != number}
        usage_counted = _quota_usage(directory, number)
        if usage_counted is not None:
            found["used_bytes"], found["inodes_used"] = usage_counted
        return found
    finally:
        os.close(directory)


def has_encrypted_names(path: str) -> bool:
    """Whether a directory is encrypted by its file system (fscrypt): FS_ENCRYPT_FL of FS_IOC_GETFLAGS."""
    flags = bytearray(8)
    try:
        directory = os.open(path, _OPEN_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.ioctl(directory, _IOC_GETFLAGS, flags)
    except OSError:  # a file system without such flags
        return False
    finally:
        os.close(directory)
    return bool(int.from_bytes(flags[:4], sys.byteorder) & _ENCRYPTED_FLAG)


def answer(request: dict[str, object]) -> dict[str, object]:
    """Do what a request asks for; an error becomes its reason, also of a path that no file can have.

    The operations: `space`, of a file system; `directory`, the same with a directory's quota and encryption;
    `usage`, a walk.
    """
    started = time.monotonic()
    path, operation = str(request["path"]), request["operation"]
    result: dict[str, object] = {}
    try:
        if operation == "usage":
            nested = request.get("nested")
            found = usage(path, nested if isinstance(nested, list) else (), is_large=bool(request.get("is_large")))
            result["used_bytes"], result["inodes_used"] = found
        else:
            result.update(space(path))
        if operation == "directory":
            result["project"] = project(path)
            result["has_encrypted_names"] = has_encrypted_names(path)
    except OSError as error:
        result = {"error": _REASONS.get(error.errno or 0, "io"), "message": error.strerror or str(error)}
    except ValueError as error:  # a zero byte in the path, or a lone surrogate
        result = {"error": "io", "message": str(error)}
    result["seconds"] = time.monotonic() - started
    return result


def _project_of(directory: int) -> tuple[int, int]:
    """Extended flags and project id of an open directory (FS_IOC_FSGETXATTR; struct fsxattr)."""
    attributes = bytearray(_FSXATTR.size)
    try:
        fcntl.ioctl(directory, _IOC_FSGETXATTR, attributes)
    except OSError:  # a file system without projects
        return 0, 0
    flags, _, _, number, _ = _FSXATTR.unpack(attributes)
    return flags, number


def _parents_project(directory: int) -> int:
    try:
        parent = os.open("..", _OPEN_DIRECTORY, dir_fd=directory)
    except OSError:
        return 0
    try:
        return _project_of(parent)[1]
    finally:
        os.close(parent)


def _quota_usage(directory: int, number: int) -> tuple[int, int] | None:
    """Bytes and inodes that a project's quota counts (quotactl_fd(2), struct if_dqblk), None without the right."""
    block = ctypes.create_string_buffer(_DQBLK.size)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_QUOTACTL_FD, directory, _GET_PROJECT_QUOTA, number, block) != 0:
        return None
    _, _, used_bytes, _, _, inodes_used, *_ = _DQBLK.unpack(block.raw)
    return used_bytes, inodes_used


def gnu_find() -> str | None:
    """GNU find, which alone has -printf; None if there is none. Asked once."""
    if "find" not in _programs:
        path = shutil.which("find")
        if path is not None:
            asked = subprocess.run([path, "--version"], capture_output=True, check=False)  # noqa: S603
            path = path if asked.stdout.startswith(b"find (GNU") else None
        _programs["find"] = path
    return _programs["find"]


def _literal(path: str) -> str:
    """A path as a pattern of find that matches nothing else."""
    return "".join("\\" + letter if letter in "*?[]\\" else letter for letter in path)


def _met_before(links: dict[int, int], inode: int, names: int) -> bool:
    """Whether another name of this inode was counted already; forgets an inode once all its names were met."""
    left = links.get(inode)
    if left is None:
        links[inode] = names - 1
        return False
    if left > 1:
        links[inode] = left - 1
    else:
        del links[inode]
    return True


def _lower_priority() -> None:
    """Give way to everything else, and end when the exporter ends."""
    os.setpriority(os.PRIO_PROCESS, 0, 19)  # whatever the exporter's own is
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
