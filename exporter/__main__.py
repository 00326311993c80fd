"""The command line: `netvol-exporter`, or `python -m exporter`."""

import asyncio
import sys
from collections.abc import Sequence

from exporter import __version__, logs
from exporter.check import check
from exporter.completion import completion
from exporter.daemon import Daemon
from exporter.privileges import Wants, drop, others_socket
from exporter.settings import Settings, UsageError, load
from exporter.web.server import ListenError

_USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the flags ask for; the exit code is 0, 1 for a failure, or 2 for unusable flags."""
    try:
        settings = load(sys.argv[1:] if arguments is None else arguments)
    except UsageError as error:
        print(f"netvol-exporter: {error}", file=sys.stderr)  # noqa: T201 - there are no logs before the settings
        return _USAGE_ERROR
    if settings.version:
        print(f"netvol-exporter {__version__}")  # noqa: T201 - what was asked for
        return 0
    if settings.shell is not None:
        print(completion(settings.shell), end="")  # noqa: T201 - likewise
        return 0
    logs.configure(settings.log.level, settings.log.format)
    if settings.command == "serve" and not settings.once:
        drop(
            Wants(
                rtt=settings.collector.rtt,
                ports=tuple(address.port for address in settings.web.listen_address),
                others_socket=others_socket(settings.engine.host),
            )
        )
    try:
        return asyncio.run(_run(settings))
    except ListenError as error:
        logs.get_logger().error(str(error))
        return 1


async def _run(settings: Settings) -> int:
    if settings.command == "check":
        return await check(settings, sys.stdout)
    daemon = Daemon(settings)
    if settings.once:
        page, complete = await daemon.once()
        sys.stdout.buffer.write(page)
        return 0 if complete else 1
    await daemon.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
