"""How the engine is reached: its address as the docker client finds it, and the TLS of tcp addresses.

aiodocker could do both, but it takes a context's word before DOCKER_HOST's, which the docker client does not
(docker/cli: cli/command/cli.go, resolveContextName), does not tell which file can't be read, and does not verify
the certificate of an https address without files.
"""

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TCP = re.compile(r"(?:tcp|http|https)://(?P<authority>[^/]*)(?P<path>/.*)?")
_HAS_PORT = re.compile(r".*:\d+|.*:")
_PLAIN_PORT, _TLS_PORT = 2375, 2376


class TransportError(Exception):
    """The engine can't be reached with these settings; the message is one line."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificates as PEM files: of the authority that signed the engine's; the exporter's own with its key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __bool__(self) -> bool:
        """Whether any is given."""
        return self.ca is not None or self.cert is not None


@dataclass(frozen=True, slots=True)
class Target:
    """What aiodocker is to be told; without an address it looks for a context or a socket itself."""

    url: str | None
    tls: ssl.SSLContext | None = None


def target(host: str, files: TlsFiles, environment: Mapping[str, str] = os.environ) -> Target:
    """Find the engine's address, and read the files of its TLS.

    They are read for each connection, so that certificates may be renewed.

    Raises TransportError, which names the file or what is missing.
    """
    url = host or environment.get("DOCKER_HOST") or None
    matched = _TCP.fullmatch(url or "")
    if url is None or matched is None:
        if files:
            raise TransportError(
                "--engine.tls-ca and --engine.tls-cert are for an --engine.host of tcp://HOST:PORT"
            )
        return Target(url)
    if not files and environment.get("DOCKER_TLS_VERIFY"):
        files = _docker_files(environment)
    tls = _context(files) if files or url.startswith("https:") else None
    authority = matched["authority"]
    if not _HAS_PORT.fullmatch(authority.rpartition("]")[2]) and not url.startswith("http"):
        authority += f":{_TLS_PORT if tls else _PLAIN_PORT}"
    return Target(f"{'https' if tls else 'http'}://{authority}{(matched['path'] or '').rstrip('/')}", tls)


def without_password(text: str) -> str:
    """The text with the passwords of addresses in it made unreadable."""
    return re.sub(r"(://[^/@:\s]*):\S*@", r"\1:***@", text)


def _docker_files(environment: Mapping[str, str]) -> TlsFiles:
    folder = Path(environment.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    cert, key = folder / "cert.pem", folder / "key.pem"
    # As the docker client has it: an engine may want no certificate of its clients.
    return TlsFiles(folder / "ca.pem", cert, key) if cert.exists() else TlsFiles(folder / "ca.pem")


def _context(files: TlsFiles) -> ssl.SSLContext:
    authorities = _readable(files.ca, "certificate authority")
    try:
        context = ssl.create_default_context(cafile=authorities)
    except ssl.SSLError as error:
        raise TransportError(f"no certificate authority in {files.ca}: {_reason(error)}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.cert is not None:
        certificate, key = _readable(files.cert, "certificate"), _readable(files.key, "key")
        try:
            context.load_cert_chain(str(certificate), key, password=_no_passphrase)
        except ssl.SSLError as error:
            raise TransportError(
                f"no certificate with its key in {files.cert} and {files.key or 'the same'}: {_reason(error)}"
            ) from None
    return context


def _readable(path: Path | None, what: str) -> str | None:
    """Tell which file it is that can't be read: OpenSSL does not."""
    if path is None:
        return None
    try:
        with path.open("rb"):
            return str(path)
    except OSError as error:
        raise TransportError(f"the {what} {path} can't be read: {error.strerror}") from None


def _no_passphrase() -> str:
    """OpenSSL would ask for it at the terminal, and wait."""
    raise TransportError("the key must have no passphrase: nobody is there to type it")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
