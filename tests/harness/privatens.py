"""A network and a mount namespace of the tests' own, entered by the test process itself.

All that the tests start afterwards, the engine, the exporter, Prometheus and the browser, is then in the
engine's host network namespace and reachable on 127.0.0.1, and mounts vanish with the last process. Two engines
in one network namespace fight over docker0 and the packet filter, and the user's must not notice the tests.
"""

import ctypes
import os
import subprocess
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000

_entered = False
_machine_network: int | None = None


def enter() -> None:
    """Move this process into namespaces of its own, once; must come before it has threads."""
    global _entered, _machine_network  # noqa: PLW0603 - a process has one network namespace
    if _entered:
        return
    if os.geteuid() != 0:
        raise AssertionError("these tests start a Docker engine and must run as root: sudo make test")
    _machine_network = os.open("/proc/self/ns/net", os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET | CLONE_NEWNS)")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # The host's ends of veth pairs would solicit routers for ever: traffic that no test asked for.
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    _entered = True


def outside() -> list[str]:
    """The words before a command that needs the machine's own network, such as a registry of packages."""
    return [] if _machine_network is None else ["nsenter", f"--net=/proc/{os.getpid()}/fd/{_machine_network}"]


def stay() -> None:
    """Stay in the machine's own namespaces, because the whole machine is the tests', as the one of `make vm`."""
    global _entered  # noqa: PLW0603 - likewise
    _entered = True
