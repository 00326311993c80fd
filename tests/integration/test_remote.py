"""Engines on other hosts: over TCP with TLS, and over ssh."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import pytest
import trustme

from tests.conftest import empty
from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess, Scrape, free_port
from tests.harness.wait import eventually
from tests.harness.workloads import counters_inside, run, send

pytestmark = pytest.mark.engine


class RemoteEngine:
    """A real engine that listens with TLS on loopback and wants certificates of its clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        for name, identity in (("server", "127.0.0.1"), ("client", "exporter")):
            certificate = authority.issue_cert(identity)
            certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
            certificate.private_key_pem.write_to_path(folder / f"{name}-key.pem")
        trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
        self.port = free_port()
        self.engine = PrivateEngine(
            f"--host={self.host}",
            "--tlsverify",
            f"--tlscacert={folder}/ca.pem",
            f"--tlscert={folder}/server.pem",
            f"--tlskey={folder}/server-key.pem",
            is_second=True,
        )

    @property
    def host(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def flags(self, ca: str = "ca.pem") -> list[str]:
        """Flags of an exporter on another host: it sees nothing of the containers' processes."""
        (self.folder / "proc").mkdir(exist_ok=True)
        return [
            f"--engine.host={self.host}",
            f"--engine.tls-ca={self.folder / ca}",
            f"--engine.tls-cert={self.folder}/client.pem",
            f"--engine.tls-key={self.folder}/client-key.pem",
            f"--path.procfs={self.folder}/proc",
        ]

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Drop every packet, as a dead router does: no connection is closed, none answers."""
        rules = [f"INPUT -i lo -p tcp {which} {self.port} -j DROP" for which in ("--dport", "--sport")]
        with packet_filter(*rules):
            yield


@contextmanager
def packet_filter(*rules: str) -> Iterator[None]:
    """Put rules first, for a while."""
    for rule in rules:
        subprocess.run(["iptables", "-w", "-I", *rule.split()], check=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-w", "-D", *rule.split()], check=True)


@pytest.fixture(scope="module")
def remote(private_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteEngine]:
    remote = RemoteEngine(tmp_path_factory.mktemp("remote"))
    try:
        remote.engine.start()
        # The tests' first engine lets nothing pass that it does not know.
        with packet_filter("FORWARD -j ACCEPT"):
            yield remote
    finally:
        remote.engine.remove()


@pytest.fixture
def client(remote: RemoteEngine) -> Iterator[docker.DockerClient]:
    with closing(remote.engine.client()) as client:
        yield client
        empty(remote.engine)


def test_traffic_and_volumes_of_an_engine_at_tcp_with_tls_are_true(
    remote: RemoteEngine, client: docker.DockerClient
) -> None:
    client.networks.create("far")
    sender = run(client, "sender", network="far")
    receiver = run(client, "receiver", network="far", volumes={"data": {"bind": "/data"}})
    receiver.exec_run(["sh", "-c", "head -c 3000000 /dev/zero > /data/file"])
    with ExporterProcess(*remote.flags()) as exporter:
        send(sender, receiver, "far", 5_000_000)
        series = "docker_container_network_receive_bytes_total"

        def is_true(scrape: Scrape) -> bool:
            page = scrape.value(series, container="receiver", network="far") or 0
            return page == counters_inside(receiver)["eth0"].receive_bytes > 5_000_000

        # The engine is asked every ten seconds.
        scrape = exporter.eventually(is_true, "the kernel's own number on the page", 40)
        print(f"\nreceived: {scrape.value(series, container='receiver'):.0f} bytes by the kernel and by the page")
        assert scrape.value("docker_container_info", container="receiver") == 1
        assert scrape.value("docker_engine_up") == 1
        assert "source=engine" in exporter.log
        # Apparent bytes, as the engine counts: the files are on a disk that this exporter must not look at.
        exporter.eventually(
            lambda s: s.value("docker_volume_used_bytes", volume="data") == 3_000_000, "the volume", 30
        )
        assert "engine unreachable" not in exporter.log


def test_an_engine_whose_certificate_another_authority_signed_is_not_spoken_with(remote: RemoteEngine) -> None:
    with ExporterProcess(*remote.flags("other-ca.pem"), ready=False) as exporter:
        exporter.eventually(lambda s: "engine unreachable" in exporter.log, "the log line")
        time.sleep(5)  # several tries more
        assert exporter.scrape().value("docker_engine_up") == 0
        [line] = [line for line in exporter.log.splitlines() if "level=info" not in line]
        print(f"\n{line}")
        assert "CERTIFICATE_VERIFY_FAILED" in line


def test_an_engine_that_refuses_the_exporter_s_certificate_is_down_with_one_line(remote: RemoteEngine) -> None:
    flags = [flag for flag in remote.flags() if not flag.startswith(("--engine.tls-cert", "--engine.tls-key"))]
    with ExporterProcess(*flags, ready=False) as exporter:
        exporter.eventually(lambda s: "engine unreachable" in exporter.log, "the log line")
        time.sleep(5)
        assert exporter.scrape().value("docker_engine_up") == 0
        [line] = [line for line in exporter.log.splitlines() if "level=info" not in line]
        print(f"\n{line}")
        assert "certificate" in line.lower()


def test_a_certificate_that_is_put_right_is_used_without_a_restart(remote: RemoteEngine) -> None:
    ca = remote.folder / "later-ca.pem"
    with ExporterProcess(*remote.flags("later-ca.pem"), ready=False) as exporter:
        exporter.eventually(lambda s: f"{ca} can't be read" in exporter.log, "the log line")
        ca.symlink_to(remote.folder / "ca.pem")
        exporter.eventually(lambda s: s.value("docker_engine_up") == 1, "the engine up")
        assert exporter.log.count("engine unreachable") == 1


def test_docker_s_variables_name_engine_and_certificates(remote: RemoteEngine) -> None:
    folder = remote.folder / "docker"
    folder.mkdir()
    for name, file in (("ca", "ca"), ("cert", "client"), ("key", "client-key")):
        (folder / f"{name}.pem").symlink_to(remote.folder / f"{file}.pem")
    environment = [f"DOCKER_HOST={remote.host}", "DOCKER_TLS_VERIFY=1", f"DOCKER_CERT_PATH={folder}"]
    with ExporterProcess(started_by=["env", *environment]) as exporter:
        assert exporter.scrape().value("docker_engine_up") == 1


def test_a_half_open_connection_is_noticed_and_given_up(remote: RemoteEngine, client: docker.DockerClient) -> None:
    with ExporterProcess(*remote.flags()) as exporter:
        exporter.eventually(lambda s: s.value("docker_engine_up") == 1, "the engine up")
        with remote.cut_off():
            started = time.monotonic()
            exporter.eventually(lambda s: s.value("docker_engine_up") == 0, "the engine down", 30)
            noticed = time.monotonic() - started
            exporter.eventually(lambda s: "engine unreachable" in exporter.log, "the connection given up", 30)
            given_up = time.monotonic() - started
            run(client, "meanwhile")
            assert time.monotonic() - started < 30
        restored = time.monotonic()
        exporter.eventually(lambda s: s.value("docker_engine_up") == 1, "the engine up", 30)
        exporter.eventually(lambda s: s.series("docker_container_info", container="meanwhile"), "what came", 10)
        back = time.monotonic() - restored
        print(f"\ndown after {noticed:.1f} s, given up after {given_up:.1f} s, whole {back:.1f} s after the end")
        assert exporter.log.count("engine unreachable") == 1
        assert "Traceback" not in exporter.log


@contextmanager
def ssh_server(engine: PrivateEngine, home: Path) -> Iterator[int]:
    """A real sshd on the engine's host that knows one key; gives its port. `home` is who has that key."""
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    for name in ("id_ed25519", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/id_ed25519.pub\nPermitRootLogin yes\nSetEnv DOCKER_HOST={engine.host}\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", f"{folder}/sshd_config"], stderr=log)
    try:
        eventually(lambda: b"Server listening" in (folder / "log").read_bytes(), "sshd listening")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def over_ssh(home: Path, host: str) -> ExporterProcess:
    (home / "proc").mkdir(exist_ok=True)
    flags = (f"--engine.host={host}", f"--path.procfs={home}/proc")
    return ExporterProcess(*flags, ready=False, started_by=["env", f"HOME={home}"])


def test_traffic_of_an_engine_at_ssh_is_true_for_more_containers_than_sshd_has_sessions(
    client: docker.DockerClient, remote: RemoteEngine, tmp_path: Path
) -> None:
    containers = [run(client, f"c{number}") for number in range(15)]
    with (
        ssh_server(remote.engine, tmp_path) as port,
        over_ssh(tmp_path, f"ssh://root@127.0.0.1:{port}") as exporter,
    ):
        series = "docker_container_network_receive_bytes_total"

        def is_true(scrape: Scrape) -> bool:
            page = {labels["container"]: value for labels, value in scrape.series(series)}
            return page == {one.name: counters_inside(one)["eth0"].receive_bytes for one in containers}

        exporter.eventually(is_true, "the kernel's own numbers on the page", 60)
        assert exporter.scrape().value("docker_engine_up") == 1
        assert exporter.scrape().value("docker_engine_event_stream_connected") == 1
        run(client, "new")
        exporter.eventually(lambda s: s.series("docker_container_info", container="new"), "the new one", 10)
        assert "level=warning" not in exporter.log


def test_a_half_open_ssh_connection_is_noticed_and_given_up(
    client: docker.DockerClient, remote: RemoteEngine, tmp_path: Path
) -> None:
    with (
        ssh_server(remote.engine, tmp_path) as port,
        over_ssh(tmp_path, f"ssh://root@127.0.0.1:{port}") as exporter,
    ):
        exporter.eventually(lambda s: s.value("docker_engine_up") == 1, "the engine up", 20)
        rules = [f"INPUT -i lo -p tcp {which} {port} -j DROP" for which in ("--dport", "--sport")]
        with packet_filter(*rules):
            started = time.monotonic()
            exporter.eventually(lambda s: s.value("docker_engine_up") == 0, "the engine down", 30)
            exporter.eventually(lambda s: "engine unreachable" in exporter.log, "the connection given up", 30)
            assert time.monotonic() - started < 30
        exporter.eventually(lambda s: s.value("docker_engine_up") == 1, "the engine up", 30)
        assert exporter.log.count("engine unreachable") == 1
        assert "Traceback" not in exporter.log


def test_an_ssh_host_that_is_not_known_is_not_spoken_with(remote: RemoteEngine, tmp_path: Path) -> None:
    with ssh_server(remote.engine, tmp_path) as port:
        (tmp_path / ".ssh" / "known_hosts").write_text("")
        with over_ssh(tmp_path, f"ssh://root@127.0.0.1:{port}") as exporter:
            exporter.eventually(lambda s: "engine unreachable" in exporter.log, "the log line")
            assert exporter.scrape().value("docker_engine_up") == 0
            print(f"\n{exporter.log}")
            assert exporter.log.count("level=warning") == 1
            assert "host key" in exporter.log.lower()


def test_without_the_extra_for_ssh_it_is_told_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "asyncssh.py").write_text("raise ImportError\n")
    environment = ["env", f"PYTHONPATH={tmp_path}", f"HOME={tmp_path}"]
    with ExporterProcess("--engine.host=ssh://root@127.0.0.1:1", ready=False, started_by=environment) as exporter:
        exporter.eventually(lambda s: "engine unreachable" in exporter.log, "the log line")
        print(f"\n{exporter.log}")
        assert "netvol-exporter[ssh]" in exporter.log
