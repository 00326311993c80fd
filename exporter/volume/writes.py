"""How much each container has written to disks, by its cgroup: whose volumes to measure first.

It is a hint and no more: with cgroups v1 the kernel doesn't count what goes through the page cache, with v2 only
once it is written back (Documentation/admin-guide/cgroup-v2.rst, "Writeback").
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from exporter.inventory.model import Container, is_process_of

_V1_FILE = "blkio.throttle.io_service_bytes"
_V2_FILE = "io.stat"
_MOST_DIGITS = 20
"""Of a number of 64 bits."""


def parse_io_stat(text: str) -> int:
    """Bytes written to all devices, of `io.stat` of cgroups v2."""
    words = (word.partition("=") for word in text.split())
    return sum(_count(value) for key, _, value in words if key == "wbytes")


def parse_io_service_bytes(text: str) -> int:
    """Bytes written to all devices, of `blkio.throttle.io_service_bytes` of cgroups v1."""
    lines = (line.split() for line in text.split("\n"))
    return sum(_count(line[2]) for line in lines if len(line) == 3 and line[1] == "Write")  # noqa: PLR2004 - columns


def cgroup_of(text: str) -> tuple[bool, str] | None:
    """Of `/proc/PID/cgroup` (cgroups(7)): whether it is v1, and the path of the group that counts writes."""
    unified = None
    for line in text.split("\n"):  # the kernel lets a group's name hold all but a line feed
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "blkio" in controllers.split(","):
            return True, path
        if rest.startswith(":"):
            unified = path
    return (False, unified) if unified is not None else None


def _count(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else 0


def read_written_bytes(containers: Iterable[Container], procfs: Path, rootfs: Path) -> Mapping[str, int]:
    """Bytes that each running container has written, by its id; one of which nothing is told is left out."""
    written: dict[str, int] = {}
    for container in containers:
        if container.is_running:
            try:
                found = _read(container, procfs, rootfs / "sys/fs/cgroup")
            except OSError:
                continue
            if found is not None:
                written[container.id] = found
    return written


def _read(container: Container, procfs: Path, cgroups: Path) -> int | None:
    text = (procfs / str(container.pid) / "cgroup").read_bytes()
    group = cgroup_of(text.decode(errors="surrogateescape"))
    if group is None or not is_process_of(container.id, text):
        return None
    is_v1, path = group
    # From a cgroup namespace of one's own the path begins with "..": then only its last part is of use.
    candidates = [path.lstrip("/")]
    if ".." in path.split("/"):
        last = path.rpartition("/")[2]
        candidates = [f"system.slice/{last}", f"docker/{last}"]
    for candidate in candidates:
        file = cgroups / "blkio" / candidate / _V1_FILE if is_v1 else cgroups / candidate / _V2_FILE
        if file.exists():
            counted = file.read_text(errors="replace")
            return parse_io_service_bytes(counted) if is_v1 else parse_io_stat(counted)
    return None
