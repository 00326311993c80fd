"""What the quota tools and df say: the truth that the page is compared with."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.vm.machine import output_of


@dataclass(frozen=True, slots=True)
class Quota:
    """Usage and hard limits of a project; a limit of 0 is none."""

    used_bytes: int
    limit_bytes: int
    inodes_used: int
    inodes_limit: int


@dataclass(frozen=True, slots=True)
class QuotaFileSystem:
    """A mounted file system that enforces project quotas."""

    path: Path
    fstype: str

    def quota_of(self, directory: Path) -> Quota:
        """The quota of a directory's project by the file system's own tools."""
        project = int(output_of("lsattr", "-p", "-d", directory).split()[0])
        assert project != 0, f"{directory} has no project"
        output_of("sync", "-f", self.path)
        if self.fstype == "xfs":
            blocks, inodes = (self._xfs_report(project, kind) for kind in ("-b", "-i"))
            return Quota(blocks[0] * 1024, blocks[2] * 1024, inodes[0], inodes[2])
        [line] = re.findall(rf"^#{project} .*$", output_of("repquota", "-P", "-n", self.path), re.MULTILINE)
        used, _soft, hard, inodes_used, _inodes_soft, inodes_hard = map(int, line.split()[2:8])
        return Quota(used * 1024, hard * 1024, inodes_used, inodes_hard)

    def _xfs_report(self, project: int, kind: str) -> list[int]:
        """Used, soft and hard limit, in KiB or inodes."""
        report = output_of("xfs_quota", "-x", "-c", f"report -p -n -N {kind}", self.path)
        [line] = re.findall(rf"^#{project} .*$", report, re.MULTILINE)
        return [int(field) for field in line.split()[1:4]]


@dataclass(frozen=True, slots=True)
class Space:
    """A line of df."""

    size_bytes: int
    used_bytes: int
    available_bytes: int


def df(path: Path | str) -> Space:
    """What df says of the file system at a path."""
    line = output_of("df", "-B1", "--output=size,used,avail", path).splitlines()[1]
    return Space(*map(int, line.split()))
