import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from exporter.engine.transport import TlsFiles, TransportError, target, without_password


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as `docker` wants them in DOCKER_CERT_PATH."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("client")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    return folder


def files(folder: Path, key: str = "key.pem") -> TlsFiles:
    return TlsFiles(folder / "ca.pem", folder / "cert.pem", folder / key)


def test_without_a_word_contexts_and_sockets_are_left_to_aiodocker() -> None:
    assert target("", TlsFiles(), {}).url is None


def test_the_flag_wins_over_docker_host() -> None:
    environment = {"DOCKER_HOST": "unix:///environment.sock"}
    assert target("unix:///flag.sock", TlsFiles(), environment).url == "unix:///flag.sock"
    assert target("", TlsFiles(), environment).url == "unix:///environment.sock"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("tcp://engine:1234", "http://engine:1234"),
        ("tcp://engine", "http://engine:2375"),
        ("tcp://[fd00::1]", "http://[fd00::1]:2375"),
        ("tcp://[fd00::1]:1234/", "http://[fd00::1]:1234"),
        ("http://proxy/docker", "http://proxy/docker"),
    ],
)
def test_tcp_without_files_is_plain_on_the_port_that_docker_uses(host: str, url: str) -> None:
    there = target(host, TlsFiles(), {})
    assert (there.url, there.tls) == (url, None)


def test_with_files_tcp_is_tls_and_the_engine_s_certificate_is_verified(folder: Path) -> None:
    there = target("tcp://engine", files(folder), {})
    assert there.url == "https://engine:2376"
    assert there.tls is not None
    assert there.tls.verify_mode is ssl.CERT_REQUIRED
    assert there.tls.check_hostname


def test_https_is_verified_also_without_files() -> None:
    there = target("https://engine:2376", TlsFiles(), {})
    assert there.tls is not None
    assert there.tls.verify_mode is ssl.CERT_REQUIRED


def test_certificate_and_key_may_be_one_file(folder: Path) -> None:
    assert target("tcp://engine", TlsFiles(folder / "ca.pem", folder / "both.pem"), {}).tls


def test_docker_s_variables_are_understood(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = {"DOCKER_HOST": "tcp://engine:2376", "DOCKER_CERT_PATH": str(folder)}
    assert target("", TlsFiles(), environment).tls is None
    assert target("", TlsFiles(), {**environment, "DOCKER_TLS_VERIFY": "1"}).tls
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").symlink_to(folder)
    assert target("tcp://engine:2376", TlsFiles(), {"DOCKER_TLS_VERIFY": "1"}).tls
    assert target("unix:///docker.sock", TlsFiles(), {"DOCKER_TLS_VERIFY": "1"}).tls is None


def test_an_authority_alone_will_do_for_an_engine_that_wants_no_certificate(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").symlink_to(folder / "ca.pem")
    assert target("tcp://engine", TlsFiles(), {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}).tls


def test_a_file_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    for missing in (
        TlsFiles(tmp_path / "none.pem"),
        TlsFiles(folder / "ca.pem", tmp_path / "none.pem"),
        files(folder, f"{tmp_path}/none.pem"),
    ):
        with pytest.raises(TransportError, match=r"none.pem can't be read: No such file or directory"):
            target("tcp://engine", missing, {})


def test_a_file_that_holds_something_else_is_named(folder: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("hello\n")
    with pytest.raises(TransportError, match=r"no certificate authority in .*garbage.pem: \w+"):
        target("tcp://engine", TlsFiles(garbage), {})
    with pytest.raises(TransportError, match=r"no certificate with its key in .*garbage.pem"):
        target("tcp://engine", TlsFiles(folder / "ca.pem", garbage, folder / "key.pem"), {})


def test_a_key_of_another_certificate_is_refused(folder: Path, tmp_path: Path) -> None:
    trustme.CA().issue_cert("other").private_key_pem.write_to_path(tmp_path / "other.pem")
    with pytest.raises(TransportError, match="key values mismatch"):
        target("tcp://engine", files(folder, f"{tmp_path}/other.pem"), {})


def test_a_key_with_a_passphrase_does_not_wait_for_somebody_to_type_it(folder: Path, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "locked.pem").write_bytes(secret)
    with pytest.raises(TransportError, match="no passphrase"):
        target("tcp://engine", files(folder, f"{tmp_path}/locked.pem"), {})


@pytest.mark.parametrize("host", ["", "unix:///docker.sock", "ssh://engine"])
def test_files_for_an_engine_that_is_not_at_tcp_are_a_mistake_that_is_told(host: str, folder: Path) -> None:
    with pytest.raises(TransportError, match="tcp://HOST:PORT"):
        target(host, files(folder), {})


def test_passwords_in_addresses_are_not_told() -> None:
    assert without_password("via ssh://me:secret@host:22 [x]") == "via ssh://me:***@host:22 [x]"
    assert without_password("ssh://me:se@cr/et@host:22: refused") == "ssh://me:***@host:22: refused"
    assert without_password("tcp://host:2376 and no password") == "tcp://host:2376 and no password"
    assert without_password("http://u:p@a and unix:///docker.sock") == "http://u:***@a and unix:///docker.sock"
