"""The virtual machine: its disks and services, and time-outs for when it is emulated."""

import subprocess
from pathlib import Path

PATIENCE_SECONDS = 60
"""How long a condition may take to come true in a machine that is emulated."""


def disk(name: str) -> Path:
    """The disk that has this serial number, see run.sh."""
    return Path(f"/dev/disk/by-id/virtio-{name}")


def output_of(*command: str | Path) -> str:
    """What a program prints; it must end well."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def service(action: str, name: str) -> None:
    """Start or stop a service of the distribution."""
    subprocess.run(["systemctl", action, name], check=True)
