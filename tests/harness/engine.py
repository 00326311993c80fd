"""A private Docker engine: dockerd with data root, exec root, socket and pid file of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docker

from tests.harness import privatens
from tests.harness.images import busybox_tar
from tests.harness.wait import eventually

IMAGE = "netvol-test/busybox:1"
_PREFIX = "netvol-test-engine-"
_SECOND_BRIDGE = "nvt-second"
_FOLDER = Path("/var/tmp")  # a disk, so that overlay2 works, also where /tmp is a tmpfs


class PrivateEngine:
    """One engine. It can be stopped, killed, frozen and started again like any other."""

    def __init__(self, *flags: str, data_root: Path | None = None, is_second: bool = False) -> None:
        """A second one beside another in the same network namespace leaves docker0 and the packet filter alone."""
        self._flags = (*flags, f"--bridge={_SECOND_BRIDGE}", "--iptables=false") if is_second else flags
        self._is_second = is_second
        self._process: subprocess.Popen[bytes] | None = None
        self.root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_FOLDER))
        self.socket = self.root / "docker.sock"
        self.data_root = data_root or self.root / "data"
        (self.root / "owner").write_text(str(os.getpid()))

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which the docker client finds this engine."""
        return {**os.environ, "DOCKER_HOST": self.host}

    def start(self) -> None:
        privatens.enter()
        if self._is_second:
            for command in ("link add {} type bridge", "addr replace 10.211.0.1/24 dev {}", "link set {} up"):
                # The first fails where the bridge is there already.
                words = command.format(_SECOND_BRIDGE).split()
                subprocess.run(["ip", *words], check="add" not in words, capture_output=True)
        with (self.root / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--data-root={self.data_root}",
                    f"--exec-root={self.root}/exec",
                    f"--pidfile={self.root}/docker.pid",
                    f"--host={self.host}",
                    *self._flags,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(self._answers, f"dockerd answering; its log:\n{self._tail()}", 60)
        with contextlib.closing(self.client()) as client:
            if not client.images.list(IMAGE):
                repository, tag = IMAGE.split(":")
                client.api.import_image_from_data(busybox_tar(), repository=repository, tag=tag)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does: its containers live on."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Stop it, and leave nothing: no process, no mount, no file."""
        self.stop()
        _clean(self.root)

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.host, timeout=30)

    def cpu_seconds(self) -> float:
        """Processor time of the engine with its containerd and shims, living ones only."""
        return sum(_cpu_seconds(pid) for pid in _processes_of(self.root))

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"dockerd ended; its log:\n{self._tail()}")
        try:
            with contextlib.closing(self.client()) as client:
                return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def _tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.root / "dockerd.log").read_text(errors="replace")[-3000:]
        return ""


def clean_leftovers() -> None:
    """Remove what interrupted runs left: their engines, containers and files; not those of a run that lives."""
    for root in _FOLDER.glob(f"{_PREFIX}*"):
        if not _is_owned(root):
            _clean(root)


def _is_owned(root: Path) -> bool:
    try:
        owner = int((root / "owner").read_text())
        command = Path(f"/proc/{owner}/cmdline").read_bytes()
    except (OSError, ValueError):
        return False
    return owner != os.getpid() and b"python" in command


def docker_command(engine: PrivateEngine, *arguments: str) -> str:
    """Run the docker client against the engine and give what it prints."""
    done = subprocess.run(
        ["docker", *arguments], env=engine.environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def _clean(root: Path) -> None:
    containers = [path.name for path in (root / "data" / "containers").glob("*")]
    for pid in [*_processes_of(root), *_processes_in(containers)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not _processes_of(root), f"processes of {root} gone")
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in sorted((path for path in mounts if path.startswith(f"{root}/")), reverse=True):
        subprocess.run(["umount", "-l", path], check=False, capture_output=True)
    shutil.rmtree(root, ignore_errors=True)


def _processes_of(root: Path) -> list[int]:
    return [pid for pid, command in _commands() if f"{root}/" in command]


def _processes_in(containers: Sequence[str]) -> list[int]:
    found = []
    for pid, _ in _commands():
        with contextlib.suppress(OSError):
            cgroups = Path(f"/proc/{pid}/cgroup").read_text()
            if any(container in cgroups for container in containers):
                found.append(pid)
    return found


def _commands() -> list[tuple[int, str]]:
    commands = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                commands.append((int(folder.name), command))
    return commands


def _cpu_seconds(pid: int) -> float:
    try:
        fields: Any = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
