"""Injects faults into the engine and what lies before it beside a running exporter. Run it with `make chaos`.

Each fault begins with everything well. While it lasts and until all is well again the page is scraped twice a
second; where the engine itself is well, a network and a container are made and others removed each second. It
prints a table and ends with 1 if a row breaks a promise. Columns:

- scrapes answered of all, and the longest;
- up 0: seconds until docker_engine_up said 0 (promised: within a poll of 5 s if the engine is away, else never);
- right: seconds from the engine's return until the page was right again, told by a network made then (within 5 s);
- traffic: whether the counters of living containers went on meanwhile;
- events of networks and containers that were made, then lost and doubled in the page's count, and gaps that it
  told (promised: nothing lost but where the engine itself forgot it, as when it restarts, and never doubled);
- drift that a resync found (none);
- resident memory in MB and descriptors, before and after; lines logged (one for each change of state).
"""

import argparse
import contextlib
import functools
import math
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Self

from tests.harness import privatens
from tests.harness.engine import IMAGE, PrivateEngine, clean_leftovers
from tests.harness.exporter import ExporterProcess, Scrape
from tests.harness.proxy import RecordingProxy
from tests.harness.wait import eventually
from tests.harness.workloads import remove_containers, run

NOBODY = 65534
POLL_SECONDS = 5.0


@dataclass
class Watcher:
    """Scrapes in a thread of its own, and remembers what it saw."""

    exporter: ExporterProcess
    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    ups: list[tuple[float, float | None]] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            started = time.monotonic()
            try:
                scrape = self.exporter.scrape()
            except OSError:
                self.failed += 1
            else:
                self.seconds.append(time.monotonic() - started)
                self.ups.append((time.monotonic(), scrape.value("docker_engine_up")))
                self.received.append(traffic(scrape))
            self._done.wait(0.5)

    def down_after(self, since: float) -> float:
        """Seconds from a moment to the first page that said so; infinite if none did."""
        return min((when - since for when, up in self.ups if up == 0 and when > since), default=math.inf)


def traffic(scrape: Scrape) -> float:
    return scrape.value("docker_container_network_receive_bytes_total", container="sink", network="app") or 0.0


class Bench:
    """A real engine with two containers that talk, and an exporter beside it."""

    only = ""
    log = False
    broken: ClassVar[list[str]] = []

    def __init__(self, *flags: str) -> None:
        self.engine = PrivateEngine(*flags)
        self.proxy = RecordingProxy(self.engine.root / "proxy.sock", self.engine.socket)
        self.networks = 0
        self.events: Counter[tuple[str, str]] = Counter()
        self.exporter: ExporterProcess | None = None

    def __enter__(self) -> Self:
        self.engine.start()
        with contextlib.closing(self.engine.client()) as client:
            client.networks.create("app")
            client.volumes.create("data")
        self.populate()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.remove()

    def populate(self) -> None:
        """Start the containers that don't run (any more)."""
        with contextlib.closing(self.engine.client()) as client:
            if {container.name for container in client.containers.list()} >= {"sink", "source"}:
                return
            remove_containers(client)
            sink = run(client, "sink", network="app", volumes={"data": {"bind": "/data"}})
            sink.reload()
            address = sink.attrs["NetworkSettings"]["Networks"]["app"]["IPAddress"]
            run(client, "source", network="app", command=["ping", "-q", "-i", "0.1", "-s", "1000", address])

    def change(self) -> str:
        """Make a network and a container, and remove others, as events and as something to be seen on the page."""
        self.networks += 1
        made, before = f"made{self.networks}", f"made{self.networks - 1}"
        with contextlib.closing(self.engine.client()) as client:
            client.networks.create(made)
            client.containers.create(IMAGE, ["true"], name=made)
            found = {
                "network": client.networks.list(names=[f"{before}$"]),
                "container": client.containers.list(all=True, filters={"name": f"^/{before}$"}),
            }
            for kind, objects in found.items():
                self.events[kind, "create"] += 1
                for item in objects:
                    item.remove()
                    self.events[kind, "destroy"] += 1
        return made

    def last(self, seconds: float, *, is_engine_well: bool) -> None:
        """Let time go by, with changes where the engine can be changed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if is_engine_well:
                self.change()
            time.sleep(1)

    def suffer(  # noqa: PLR0913 - what differs between faults
        self,
        name: str,
        begin: Callable[[], object],
        end: Callable[[], object],
        seconds: float,
        *,
        is_away: bool | None = True,
        is_engine_well: bool = False,
        by_proxy: bool = False,
        containers_end: bool = False,
        may_forget: bool = False,
        lines_at_most: int = 2,
        started_by: tuple[str, ...] = (),
    ) -> None:
        if self.only not in name:
            return
        with contextlib.ExitStack() as stack:
            host = stack.enter_context(self.proxy).host if by_proxy else self.engine.host
            exporter = stack.enter_context(ExporterProcess(f"--engine.host={host}", started_by=started_by))
            eventually(lambda: traffic(exporter.scrape()), "traffic", 30)
            time.sleep(6)  # the volumes' children are there, and all is as it stays
            memory, descriptors = exporter.resident_bytes, exporter.descriptors
            lines = len(exporter.log.splitlines())
            counted, made = counted_events(exporter.scrape()), self.events.copy()
            self.exporter = exporter
            watcher = Watcher(exporter)
            with watcher.watching():
                time.sleep(1)
                began = time.monotonic()
                begin()
                self.last(seconds, is_engine_well=is_engine_well)
                lived_on = watcher.received[-1] > watcher.received[0]
                end()
                returned = time.monotonic()
                network = self.change()
                exporter.eventually(lambda s: s.series("docker_network_info", network=network), "right again", 60)
                recovered = time.monotonic() - returned
            time.sleep(4)
            is_back: dict[str, Callable[[], bool]] = {
                "memory": lambda: exporter.resident_bytes < memory + 8e6,
                # Pings use connections in turn, and so keep up to seven for longer than the 15 s of an idle one.
                "descriptors": lambda: exporter.descriptors <= descriptors + 7,
            }
            with contextlib.suppress(AssertionError):
                eventually(lambda: all(check() for check in is_back.values()), "back", 30)
            after = exporter.scrape()
            made, counted = self.events - made, counted_events(after) - counted
            lost, doubled = (made - counted).total(), (counted - made).total()
            gaps = after.value("docker_engine_event_gaps_total") or 0
            drift = sum(value for _, value in after.series("docker_engine_inventory_drift_total"))
            down = watcher.down_after(began)
            down_text = "-" if math.isinf(down) else f"{down:.1f}"
            told = len(exporter.log.splitlines()) - lines
            print(
                f"{name:<44}{len(watcher.seconds):>4} of {len(watcher.seconds) + watcher.failed:<4}"
                f"{max(watcher.seconds) * 1000:>7.0f} ms{down_text:>7}{recovered:>7.1f}"
                f"{'yes' if lived_on else 'no':>9}{made.total():>8}{lost:>6}{doubled:>9}{gaps:>6.0f}"
                f"{drift:>7.0f}{memory / 1e6:>8.1f}{exporter.resident_bytes / 1e6:>7.1f}"
                f"{descriptors:>6}{exporter.descriptors:>5}{told:>7}",
                flush=True,
            )
            promises = {
                "scrapes answered": not watcher.failed,
                "scrapes within a second": max(watcher.seconds) < 1,
                "docker_engine_up tells the truth within a poll": is_away is None
                or (down <= POLL_SECONDS if is_away else math.isinf(down)),
                "right within 5 s": recovered <= 5,
                "traffic goes on": lived_on or containers_end,
                "no event lost": not lost or (may_forget and gaps > 0),
                "no event doubled": not doubled,
                "no gap": not gaps or may_forget,
                "no drift": drift == 0,
                **{f"{what} as before": check() for what, check in is_back.items()},
                "a line for each change of state": told <= lines_at_most + gaps,
            }
            self.broken.extend(f"{name}: {promise}" for promise, is_kept in promises.items() if not is_kept)
            if self.log:
                print("\n".join(exporter.log.splitlines()[lines:]))
        self.populate()


def counted_events(scrape: Scrape) -> Counter[tuple[str, str]]:
    """Networks and containers made and removed, as the page counts them."""
    family = "docker_engine_events_total"
    return Counter(
        {
            (kind, action): int(scrape.value(family, type=kind, action=action) or 0)
            for kind in ("network", "container")
            for action in ("create", "destroy")
        }
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="how long each fault lasts")
    parser.add_argument("--log", action="store_true", help="print what the exporter logged")
    parser.add_argument("--only", default="", help="faults whose name contains this")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    Bench.only, Bench.log = arguments.only, arguments.log
    privatens.enter()
    clean_leftovers()
    print(
        f"{'fault':<44}{'scrapes':<13}{'longest':>5}{'up 0':>9}{'right':>7}{'traffic':>9}{'events':>8}{'lost':>6}"
        f"{'doubled':>9}{'gaps':>6}{'drift':>7}{'MB':>8}{'after':>7}{'fds':>6}{'':>5}{'lines':>7}"
    )
    with Bench() as bench:
        of_the_engine(bench, seconds)
        of_a_proxy(bench, seconds)
    with Bench("--live-restore") as bench:
        bench.suffer(
            "killed and started, live-restore", bench.engine.kill, bench.engine.start, seconds, may_forget=True
        )
        bench.suffer(
            "stopped and started, live-restore", bench.engine.stop, bench.engine.start, seconds, may_forget=True
        )
    for promise in Bench.broken:
        print(f"broken: {promise}")
    return 1 if Bench.broken else 0


def of_the_engine(bench: Bench, seconds: float) -> None:
    engine = bench.engine
    bench.suffer("nothing", nothing, nothing, seconds, is_away=False, is_engine_well=True)
    bench.suffer("engine frozen", engine.freeze, engine.thaw, seconds)
    bench.suffer("engine frozen for two minutes", engine.freeze, engine.thaw, 120)
    bench.suffer(
        "engine stopped and started", engine.stop, engine.start, seconds, containers_end=True, may_forget=True
    )
    bench.suffer("engine killed and started", engine.kill, engine.start, seconds, may_forget=True)
    bench.suffer(
        "socket replaced by a file",
        lambda: replace_socket(engine),
        engine.start,
        seconds,
        containers_end=True,
        may_forget=True,
    )
    bench.suffer(
        "permission lost",
        lambda: lose_permission(engine),
        lambda: permit(engine),
        seconds,
        started_by=as_nobody(engine),
        containers_end=True,
        may_forget=True,
    )
    bench.suffer(
        "few descriptors from the start (24)",
        nothing,
        nothing,
        seconds,
        is_away=False,
        is_engine_well=True,
        started_by=("prlimit", "--nofile=24:1024"),
    )
    bench.suffer(
        "descriptors run out (three are left)",
        lambda: limit_descriptors(bench, 3),
        lambda: limit_descriptors(bench, 1000),
        seconds,
        is_away=False,
        is_engine_well=True,
    )


def limit_descriptors(bench: Bench, more: int) -> None:
    """Let the exporter have so many more than it has."""
    exporter = bench.exporter
    assert exporter is not None
    subprocess.run(["prlimit", f"--pid={exporter.pid}", f"--nofile={exporter.descriptors + more}:"], check=True)


def of_a_proxy(bench: Bench, seconds: float) -> None:
    """What lies before the engine is at fault, or makes the engine seem so."""
    proxy = bench.proxy

    def suffer(  # noqa: PLR0913 - what differs between faults
        name: str,
        begin: Callable[[], object],
        end: Callable[[], object],
        *,
        is_away: bool | None = True,
        more: float = 0,
        lines: int = 2,
        may_forget: bool = False,
    ) -> None:
        bench.suffer(
            name,
            begin,
            end,
            seconds + more,
            is_away=is_away,
            is_engine_well=True,
            by_proxy=True,
            lines_at_most=lines,
            may_forget=may_forget,
        )

    with every_second(proxy.cut_streams) as (begin, end):
        suffer("event stream cut each second", begin, end, is_away=False)
    with every_second(proxy.cut) as (begin, end):
        # Some pings are cut as well: then the engine's last call was not answered.
        suffer("all connections cut each second", begin, end, is_away=None, lines=4)
    # In two minutes more happens than the engine's ring of 256 events holds.
    suffer("half-open: nothing passes, nothing closes", proxy.hold, proxy.release)
    suffer("half-open for two minutes", proxy.hold, proxy.release, more=100, may_forget=True)
    suffer(
        "one container is never told of",
        lambda: never_tell_of_one(bench),
        lambda: setattr(proxy, "unanswered", b""),
        is_away=False,
    )
    suffer("each answer takes 2 s", lambda: delay(proxy, 2), lambda: delay(proxy, 0), is_away=False)
    suffer("each answer takes 8 s", lambda: delay(proxy, 8), lambda: delay_no_more(proxy))
    answers = {
        "each answer is a 500": ("500 Internal Server Error", b'{"message": "not well"}'),
        "each answer is a proxy's 503": ("503 Service Unavailable", b"<html>no server is available</html>"),
        "each answer is half of its JSON": ("200 OK", b'[{"Id": "ab'),
        "each answer is of another type": ("200 OK", b'{"unheard": [1, {}]}'),
        "each answer is a text of 50 MB": ("200 OK", b'"' + 50_000_000 * b"x" + b'"'),
    }
    for name, answer in answers.items():
        is_away = answer[0] != "200 OK"
        # Of each of the three kinds of objects is told that the engine can't list it, and that it can again.
        lines = 2 if is_away else 2 + 2 * 3
        begin = functools.partial(proxy.answer_each, *answer)
        suffer(name, begin, proxy.answer_no_more, is_away=is_away, lines=lines)


def never_tell_of_one(bench: Bench) -> None:
    """A container whose lock is held, as by a hanging volume plugin: its inspection is never answered."""
    with contextlib.closing(bench.engine.client()) as client:
        stuck = client.containers.create(IMAGE, ["true"], name=f"stuck{bench.networks}")
        bench.events["container", "create"] += 1
        bench.proxy.unanswered = f"containers/{stuck.id}/json".encode()
        stuck.rename(f"stuck-again{bench.networks}")


def nothing() -> None:
    """No fault."""


def delay(proxy: RecordingProxy, seconds: float) -> None:
    """Let each answer take so long."""
    proxy.delay_seconds = seconds


def delay_no_more(proxy: RecordingProxy) -> None:
    """Let answers come at once; those that are under way are not waited for."""
    proxy.delay_seconds = 0
    proxy.cut()


@contextlib.contextmanager
def every_second(do: Callable[[], None]) -> Iterator[tuple[Callable[[], object], Callable[[], object]]]:
    """What begins and what ends that something is done each second."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(1):
            do()

    thread = threading.Thread(target=repeat)
    try:
        yield thread.start, ended.set
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def replace_socket(engine: PrivateEngine) -> None:
    """The engine is gone, and something else has its socket's path."""
    engine.stop()
    engine.socket.unlink(missing_ok=True)
    engine.socket.touch()


def as_nobody(engine: PrivateEngine) -> tuple[str, ...]:
    engine.root.chmod(0o755)
    engine.socket.chmod(0o666)
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def lose_permission(engine: PrivateEngine) -> None:
    """A socket that is open stays so; the engine that starts again makes it anew, for root alone."""
    engine.stop()
    engine.start()
    engine.socket.chmod(stat.S_IRUSR | stat.S_IWUSR)


def permit(engine: PrivateEngine) -> None:
    engine.socket.chmod(0o666)


if __name__ == "__main__":
    sys.exit(main())
