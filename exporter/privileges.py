"""Lets go of the rights that nothing here uses: the Linux capabilities beside a list of a few (capabilities(7)).

Root's are taken from the process and from what a program that it starts can get. The largest of those that are of
use is CAP_SYS_ADMIN: without round-trip times it is needed only to ask what a quota counts, which a child process
does. So the exporter itself lets go of it, and the child, as any program that root starts, has what such programs
may have at most (the bounding set): what walking needs, and nothing else that the exporter keeps.
"""

import contextlib
import ctypes
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.logs import get_logger

_HEADER = struct.Struct("=Ii")
_SETS = struct.Struct("=6I")
"""Effective, permitted and inheritable of the lower 32 capabilities, and of the upper (linux/capability.h)."""

_VERSION_3 = 0x20080522
_LOW = 2**32 - 1
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_GET_SECUREBITS, _PR_GET_NO_NEW_PRIVS = 23, 24, 27, 39
_MOST = 63
_LOWEST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")

CAPABILITIES = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
}
"""Those that are of use, by the numbers of linux/capability.h; each of the others is let go of."""

_OF_CHILDREN = frozenset({"CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"})
"""To walk all directories, and to ask what quotas count."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What the exporter is to do, as far as it needs rights."""

    rtt: bool = False
    ports: tuple[int, ...] = ()
    others_socket: bool = False
    """Whether the engine's socket may be another user's."""


def held() -> frozenset[str]:
    """The capabilities of use that this process has in effect."""
    effective, _, _ = _get()
    return frozenset(name for name, number in CAPABILITIES.items() if effective >> number & 1)


def wanted(wants: Wants) -> frozenset[str]:
    """The capabilities that are of use for what is to be done.

    Reading all files, for volumes; tracing, for namespaces of other users' processes; CAP_NET_ADMIN for a buffer
    of the kernel's messages about links that is large enough; a low port, if one is listened on. With
    CAP_DAC_OVERRIDE root may connect to any socket, but write any file too: it is kept only for another user's.
    """
    names = {"CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_NET_ADMIN"}
    if any(0 < port < _lowest_free_port() for port in wants.ports):
        names.add("CAP_NET_BIND_SERVICE")
    if wants.rtt or not _children_get_all():
        names.add("CAP_SYS_ADMIN")
    if wants.others_socket:
        names.add("CAP_DAC_OVERRIDE")
    return frozenset(names)


def drop(wants: Wants) -> None:
    """Keep what is wanted of the rights that this process has. To be called before there is a second thread.

    Where the system refuses it, as a sandbox may, the rights stay, and it is told.
    """
    keep, bounding = _mask(wanted(wants)), _mask(_OF_CHILDREN)
    # Root's children get what is inheritable as well; those of others don't, so that no call is needed for it.
    masks = (keep, keep, keep & bounding if os.geteuid() == 0 else keep)
    had = _get()
    try:
        for number in range(_MOST + 1):
            if not bounding >> number & 1 and _prctl(_PR_CAPBSET_READ, number) == 1:
                # Only with CAP_SETPCAP; a user without it can start nothing that would get more than he has.
                with contextlib.suppress(PermissionError):
                    _prctl(_PR_CAPBSET_DROP, number)
        effective, permitted, inheritable = left = tuple(
            each & mask for each, mask in zip(had, masks, strict=True)
        )
        # A sandbox may refuse the call, as the systemd unit does, which leaves nothing to let go of.
        if left != had:
            _set(effective, permitted, inheritable)
    except OSError as error:
        get_logger().warning("rights that aren't needed can't be let go of", reason=error.strerror)
    else:
        get_logger().debug("rights", kept=", ".join(sorted(held())) or "none")


def others_socket(host: str, environment: Mapping[str, str] = os.environ, home: Path | None = None) -> bool:
    """Whether the socket that the flag, DOCKER_HOST or the docker client's context names may be another user's."""
    address = host or environment.get("DOCKER_HOST") or ""
    if not address:
        with contextlib.suppress(OSError):
            configuration = ((home or Path.home()) / ".docker/config.json").read_bytes()
            if environment.get("DOCKER_CONTEXT") or b'"currentContext"' in configuration:
                return True
        address = "unix:///var/run/docker.sock"
    return address.startswith("unix:") and _is_of_another_user(Path(address.removeprefix("unix://")))


def _is_of_another_user(path: Path) -> bool:
    """Whether a socket, or the nearest folder above that exists, is another user's; then root needs a right."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return place.stat().st_uid != os.geteuid()
    return False


def _children_get_all() -> bool:
    """Whether a program that is started gets all of the bounding set: root's does, unless that was forbidden."""
    return os.geteuid() == 0 and not _prctl(_PR_GET_NO_NEW_PRIVS, 0) and not _prctl(_PR_GET_SECUREBITS, 0)


def _lowest_free_port() -> int:
    try:
        return int(_LOWEST_FREE_PORT.read_bytes())
    except (OSError, ValueError):
        return 1024


def _mask(names: frozenset[str]) -> int:
    return sum(1 << CAPABILITIES[name] for name in names)


def _get() -> tuple[int, int, int]:
    header, sets = _header(), ctypes.create_string_buffer(_SETS.size)
    _checked(_libc().capget(header, sets))
    low = _SETS.unpack(sets.raw)
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32


def _set(effective: int, permitted: int, inheritable: int) -> None:
    sets = (effective, permitted, inheritable)
    data = _SETS.pack(*(each & _LOW for each in sets), *(each >> 32 for each in sets))
    _checked(_libc().capset(_header(), ctypes.create_string_buffer(data, _SETS.size)))


def _header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(_HEADER.pack(_VERSION_3, 0), _HEADER.size)


def _prctl(option: int, argument: int) -> int:
    answer = _libc().prctl(option, ctypes.c_ulong(argument), 0, 0, 0)
    if answer < 0 and option == _PR_CAPBSET_READ:
        return 0  # the kernel knows no capability of this number
    return _checked(answer)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
