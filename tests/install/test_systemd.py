"""The systemd unit: what it forbids, and its command run with its user, rights, limits and supervision.

systemd itself doesn't run here. Its settings are applied by setpriv, by a seccomp filter made from the unit, and
by a socket that plays the supervisor.
"""

import contextlib
import ctypes
import errno
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import docker
import pytest

from tests.harness.engine import PrivateEngine, docker_command
from tests.harness.exporter import REPOSITORY, Scrape
from tests.harness.installed import HostBefore, InstalledExporter, process_bytes, run_documented
from tests.harness.wait import eventually
from tests.harness.workloads import disk_usage, execute, received, run, send

UNIT = REPOSITORY / "deploy/systemd/netvol-exporter.service"
DROP_INS = ("walk-volumes.conf", "host-rtt.conf")
_HIGHEST_EXPOSURE = 2.5
_HIGHEST_EXPOSURE_WITH_ALL_DROP_INS = 3.0
_USER = 10420
_PR_SET_MDWE = 65


class Unit:
    """The settings of the unit with drop-ins; of those that are given several times all are kept."""

    def __init__(self, *drop_ins: str) -> None:
        self._settings: dict[str, list[str]] = {}
        for path in (UNIT, *(UNIT.with_name(name) for name in drop_ins)):
            for line in path.read_text().splitlines():
                name, separator, value = line.partition("=")
                if separator and not line.startswith("#"):
                    self._settings.setdefault(name, []).append(value)

    def all(self, name: str) -> list[str]:
        return self._settings.get(name, [])

    def last(self, name: str) -> str:
        return self.all(name)[-1]

    @property
    def capabilities(self) -> list[str]:
        """Each drop-in adds some; the unit itself has none."""
        found = [
            name.removeprefix("CAP_").lower()
            for value in self.all("AmbientCapabilities")
            for name in value.split()
        ]
        assert " ".join(self.all("AmbientCapabilities")) == " ".join(self.all("CapabilityBoundingSet"))
        return found

    def system_calls(self) -> list[str]:
        """The calls that SystemCallFilter= leaves."""
        allowed: set[str] = set()
        for value in self.all("SystemCallFilter"):
            names = {call for name in value.removeprefix("~").split() for call in _expanded(name)}
            allowed = allowed - names if value.startswith("~") else allowed | names
        return sorted(allowed)


def _expanded(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    done = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True)
    lines = [line.strip() for line in done.stdout.splitlines()[1:]]
    return {call for line in lines if line and not line.startswith("#") for call in _expanded(line)}


@pytest.mark.parametrize(
    "drop_ins", [(), *((name,) for name in DROP_INS), DROP_INS], ids=lambda names: "+".join(names) or "unit"
)
def test_the_unit_is_exposed_little(drop_ins: tuple[str, ...], tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_bytes(UNIT.read_bytes())
    folder = tmp_path / f"{UNIT.name}.d"
    folder.mkdir()
    for name in drop_ins:
        (folder / name).write_bytes(UNIT.with_name(name).read_bytes())
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=True,
    )
    [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    print(f"\n{' and '.join(drop_ins) or 'the unit'}: exposure {exposure}")
    assert float(exposure) <= (
        _HIGHEST_EXPOSURE if len(drop_ins) < len(DROP_INS) else _HIGHEST_EXPOSURE_WITH_ALL_DROP_INS
    )


def test_the_unit_has_no_unknown_settings_and_keeps_processes_visible(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # The program is not installed on this machine.
    unit.write_text(UNIT.read_text().replace("/opt/netvol-exporter/bin/netvol-exporter", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    assert Unit().all("ProtectProc") == Unit().all("ProcSubset") == Unit().all("Requires") == []
    assert Unit().last("Wants") == "docker.service"


@pytest.fixture(scope="module")
def program(private_engine: PrivateEngine) -> Iterator[Path]:
    """ExecStart= of the unit, installed as docs/install.md says, on a file system that only these tests see."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/opt"], check=True)
    try:
        wheels = REPOSITORY / ".build/images/wheels"
        path = Path(shlex.split(Unit().last("ExecStart"))[0])
        install = f"export PIP_NO_INDEX=1 PIP_FIND_LINKS={wheels}; "
        instead = {
            # The first python3 may be one that other users can't run.
            "python3 -m venv": f"{install} /usr/bin/python3 -m venv",
            # The build's requirements come from the lock too, since there is no way out here.
            "pip install --no-deps .": "pip install --require-hashes -r requirements/build.txt && "
            "/opt/netvol-exporter/bin/pip install --no-deps --no-build-isolation .",
        }
        started = time.monotonic()
        run_documented(private_engine, "docs/install.md", "The program", instead=instead)
        print(f"\nprogram installed in {time.monotonic() - started:.1f} s")
        yield path
    finally:
        subprocess.run(["umount", "-l", "/opt"], check=True)


class Supervised:
    """The unit's command as systemd starts it: user, groups, capabilities, environment and a supervisor."""

    def __init__(self, program: Path, engine: PrivateEngine, folder: Path, unit: Unit, **environment: str) -> None:
        self.told: list[str] = []
        self._supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = folder / "notify"
        self._supervisor.bind(str(address))
        address.chmod(0o777)
        self._supervisor.settimeout(0.1)
        # Its own folders are closed to others.
        for path in (folder, *folder.parents):
            if not path.stat().st_mode & 0o001 and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o011)
        engine.root.chmod(0o711)
        assert unit.last("User") == unit.last("Group") == "netvol-exporter"
        assert unit.last("SupplementaryGroups") == "docker"
        capabilities = ",".join(["-all", *(f"+{name}" for name in unit.capabilities)])
        setpriv = [
            "setpriv",
            f"--reuid={_USER}",
            f"--regid={_USER}",
            f"--groups={engine.socket.stat().st_gid}",
            f"--inh-caps={capabilities}",
            f"--ambient-caps={capabilities}",
            f"--bounding-set={capabilities}",
            "--no-new-privs",
        ]
        settings = dict(pair for value in unit.all("Environment") for pair in [value.split("=", 1)])
        self._log = folder / "log"
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT)
        self._process = subprocess.Popen(
            [*setpriv, str(program), *shlex.split(unit.last("ExecStart"))[1:]],
            cwd="/",
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": "/nonexistent",
                "NOTIFY_SOCKET": str(address),
                "WATCHDOG_USEC": "2000000",
                "NETVOL_ENGINE_HOST": engine.host,
                **_environment_file(REPOSITORY / "deploy/systemd/netvol-exporter.default"),
                **settings,
                **environment,
            },
            stderr=log,
            preexec_fn=_deny_write_execute,  # noqa: PLW1509 - this process has no threads that matter to it
        )
        os.close(log)
        self.pid = self._process.pid

    def hear(self, condition: Callable[[], object], what: str, timeout_seconds: float = 20) -> None:
        def heard() -> object:
            with contextlib.suppress(TimeoutError):
                self.told += self._supervisor.recv(4096).decode().split("\n")
            return condition()

        eventually(heard, f"{what}; told: {self.told}; log: {self._log.read_text()}", timeout_seconds)

    def stop(self) -> int:
        """End it with SIGTERM; gives its exit code."""
        try:
            self._process.send_signal(signal.SIGTERM)
            code = self._process.wait(10)
            self.hear(lambda: "STOPPING=1" in self.told, "told that it stops")
        finally:
            self._supervisor.close()
        return code


def _deny_write_execute() -> None:
    """As MemoryDenyWriteExecute= does; kernels before 6.3 don't know the call."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_MDWE, 1, 0, 0, 0) != 0 and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_MDWE)")


def _environment_file(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


@pytest.mark.engine
def test_its_command_runs_as_a_user_of_the_group_docker_and_tells_systemd_how_it_goes(
    program: Path, engine: PrivateEngine, client: docker.DockerClient, tmp_path: Path
) -> None:
    before = HostBefore(client)
    exporter = InstalledExporter()
    # The engine is asked for the usage of volumes after that time: a minute in production.
    supervised = Supervised(program, engine, tmp_path, Unit(), NETVOL_VOLUME_INTERVAL="2s")
    try:
        supervised.hear(lambda: "READY=1" in supervised.told, "told that it serves")
        ready = exporter.wait_until_ready()
        right = before.wait_until_right(exporter.tell, exporter.started, walked=False)
        status = Path(f"/proc/{supervised.pid}/status").read_text()
        assert re.search(rf"^Uid:\t{_USER}\t{_USER}\t{_USER}", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
        client.networks.create("app")
        sender, receiver = (run(client, name, network="app") for name in ("sender", "receiver"))
        exporter.eventually(lambda s: s.series("docker_container_info", container="receiver"), "the container")
        send(sender, receiver, "app", 1_000_000)
        scrape = exporter.eventually(
            lambda s: (
                s.value("docker_container_network_receive_bytes_total", container="receiver")
                == received(receiver, "app")
            ),
            "the kernel's count",
        )
        assert scrape.series("docker_network_egress_bytes_total", network="app")
        supervised.hear(lambda: supervised.told.count("WATCHDOG=1") >= 3, "told that its loop turns")
        resident = process_bytes(supervised.pid)
        print(
            f"\nunit's command: ready after {ready:.2f} s, right numbers after {right:.2f} s, "
            f"{resident / 1e6:.0f} MB resident"
        )
    finally:
        assert supervised.stop() == 0


def is_at_least(name: str, least: float, scrape: Scrape) -> bool:
    return (scrape.value(name, volume="data") or 0) >= least


@pytest.mark.engine
def test_with_its_drop_in_it_measures_volumes_that_only_their_owner_may_read(
    program: Path, engine: PrivateEngine, client: docker.DockerClient, tmp_path: Path
) -> None:
    owner = run(client, "owner", volumes={"data": {"bind": "/data"}})
    execute(owner, "dd if=/dev/zero of=/data/file bs=1M count=3; chown -R 999:999 /data; chmod 700 /data; sync")
    used, _ = disk_usage(Path(client.volumes.get("data").attrs["Mountpoint"]))
    exporter = InstalledExporter()
    for drop_ins, name, least in (
        ((), "docker_volume_measurement_errors_total", 1.0),
        (("walk-volumes.conf",), "docker_volume_used_bytes", used),
    ):
        folder = tmp_path / (drop_ins or ("none",))[0]
        folder.mkdir()
        supervised = Supervised(program, engine, folder, Unit(*drop_ins), NETVOL_VOLUME_ENGINE_DF="false")
        try:
            exporter.wait_until_ready()
            exporter.eventually(partial(is_at_least, name, least), f"{name} of {least}")
        finally:
            assert supervised.stop() == 0


@pytest.mark.engine
def test_with_its_drop_in_it_sees_round_trip_times(
    program: Path, engine: PrivateEngine, client: docker.DockerClient, tmp_path: Path
) -> None:
    run(client, "web")
    exporter = InstalledExporter()
    supervised = Supervised(program, engine, tmp_path, Unit("host-rtt.conf"))
    try:
        exporter.wait_until_ready()
        exporter.eventually(
            lambda s: s.value("netvol_exporter_collector_success", collector="rtt") == 1, "the collector working"
        )
    finally:
        assert supervised.stop() == 0


@pytest.mark.engine
def test_the_system_calls_that_it_allows_are_enough(
    engine: PrivateEngine, client: docker.DockerClient, tmp_path: Path
) -> None:
    calls = Unit().system_calls()
    assert "setuid" not in calls
    assert "mount" not in calls
    filter_file = tmp_path / "seccomp.json"
    allowed = {"names": calls, "action": "SCMP_ACT_ALLOW"}
    filter_file.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [allowed]}))
    owner = run(client, "owner", volumes={"data": {"bind": "/data"}})
    execute(owner, "dd if=/dev/zero of=/data/file bs=1M count=3; sync")
    used, _ = disk_usage(Path(client.volumes.get("data").attrs["Mountpoint"]))
    exporter = InstalledExporter()
    option = f"--security-opt seccomp={filter_file}"
    instead = {"--security-opt no-new-privileges": f"--security-opt no-new-privileges {option}"}
    run_documented(engine, "docs/install.md", "Standard", instead=instead)
    exporter.wait_until_ready()
    exporter.eventually(
        lambda s: (
            s.value("docker_volume_used_bytes", volume="data") == used
            and s.series("docker_container_network_receive_bytes_total", container="owner")
            and all(value == 1 for _, value in s.series("netvol_exporter_collector_success"))
        ),
        "volumes, traffic and all collectors",
    )
    assert "seccomp" in docker_command(engine, "inspect", "netvol-exporter")
    log = subprocess.run(
        ["docker", "logs", "netvol-exporter"], env=engine.environment, capture_output=True, text=True, check=True
    )
    assert "can't be let go of" not in log.stdout + log.stderr
