"""`python -m exporter.healthy`: whether the exporter in this container answers; for the image's HEALTHCHECK.

It takes the exporter's own flags and environment, so it knows where that one listens. A flag in the container's
command it can't see: in a container the address is set by NETVOL_WEB_LISTEN_ADDRESS, which both see. Few modules
are imported, since it is run every minute.
"""

import http.client
import sys
from collections.abc import Sequence

from exporter import __version__
from exporter.settings import ListenAddress, UsageError, load

_PATIENCE_SECONDS = 4.0
_ANY_ADDRESS = {None: "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not bound


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the first address that is listened on; the exit code is what HEALTHCHECK wants: 0 healthy, 1 not."""
    try:
        settings = load(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        return _tell(str(error), healthy=False)
    if settings.version:
        return _tell(f"netvol-exporter {__version__}", healthy=True)
    address = settings.web.listen_address[0]
    try:
        status = _ask(address)
    except (OSError, http.client.HTTPException) as error:
        return _tell(f"{address}: {error}", healthy=False)
    return _tell(f"{address}: HTTP status {status}", healthy=status == http.client.OK)


def _ask(address: ListenAddress) -> int:
    host = _ANY_ADDRESS.get(address.host, address.host)
    connection = http.client.HTTPConnection(host or "", address.port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", "/-/healthy")
        return connection.getresponse().status
    finally:
        connection.close()


def _tell(what: str, *, healthy: bool) -> int:
    print(what)  # noqa: T201 - `docker inspect` shows it
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
