"""What must hold for each parser and each writer whatever comes in: the targets of `make fuzz` and of a unit test.

A target takes any bytes, makes of them what its parser takes, and fails where the parser's contract is broken: an
exception that its docstring doesn't name, a number below zero, half a file taken for a whole one, a name that does
not come out as it went in. Most say more than "it doesn't crash": they read what was written, or compare with a
plain second way to do the same. Each has the seeds from which a fuzzer sets out: captured files and messages.
"""

import asyncio
import contextlib
import gzip
import io
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from pydantic_core import PydanticCustomError

from exporter import logs
from exporter.engine.api import EngineError, _events_of, negotiate
from exporter.engine.events import Ledger, action_of, affected_by
from exporter.engine.parse import (
    NONSENSE,
    UNREADABLE,
    parse_container,
    parse_engine_info,
    parse_event,
    parse_listed_container,
    parse_network,
    parse_time,
    parse_volume,
    parse_volume_status,
)
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Endpoint, Network, Subnet
from exporter.inventory.sizes import parse_size
from exporter.inventory.visibility import label_name
from exporter.metrics.catalogue import NETWORK_INFO, VOLUME_INFO
from exporter.metrics.negotiation import accepts_gzip, choose_format
from exporter.metrics.page import Format, make_page
from exporter.metrics.samples import label_set
from exporter.network import engine_stats
from exporter.network.accounting import Accounting, Reading
from exporter.network.addresses import pools_of
from exporter.network.attribution import Evidence, attribute, gateway_subnets, parse_addresses, parse_routes
from exporter.network.counters import InterfaceCounters
from exporter.network.devices import Devices
from exporter.network.links import Links
from exporter.network.netlink import (
    RTM_DELLINK,
    RTM_NEWLINK,
    LinkEvent,
    NetlinkError,
    parse_events,
    parse_interface_indexes,
    parse_namespace,
    parse_stats,
    raise_error,
    split_messages,
)
from exporter.network.peers import Peers
from exporter.network.procfs import is_whole, parse_net_dev, start_ticks
from exporter.network.sock_diag import parse_answer
from exporter.network.tcp import parse_activity, parse_netstat, parse_snmp, parse_sockstat
from exporter.settings import DeclaredCapacity, Duration, ListenAddress, NamePattern, UsageError, load
from exporter.volume.mounts import MountPoint, parse_mountinfo
from exporter.volume.usage import MeasureError, parse_directory, parse_measurement, parse_space
from exporter.volume.walker import FoundInodes, answer
from exporter.volume.writes import cgroup_of, parse_io_service_bytes, parse_io_stat
from exporter.web.status import StatusRow, render_status

FIXTURES = Path(__file__).parents[1] / "unit"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """A contract, and inputs to set out from."""

    name: str
    check: Callable[[bytes], None]
    seeds: Sequence[bytes]


TARGETS: dict[str, Target] = {}


def target(*seeds: bytes) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Make a function a target by its name."""

    def add(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[check.__name__] = Target(check.__name__, check, seeds)
        return check

    return add


def fixture(name: str) -> bytes:
    data = (FIXTURES / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


def texts(data: bytes) -> list[str]:
    """Pieces of text, with whatever no UTF-8 can hold as lone surrogates, as the engine's JSON can have them."""
    return [piece.decode(errors="surrogateescape") for piece in data.split(b"\xff")]


def as_utf8(text: str) -> str:
    """What a page has to make of a text."""
    return text.encode(errors="backslashreplace").decode()


def halves(data: bytes) -> Iterator[bytes]:
    """The beginnings of a file that are looked at; which ones, the data decides."""
    for part in (1, 2, 3):
        yield data[: len(data) * part // 4]
    yield data[:-1]


# Files of /proc


@target(fixture("network/fixtures/multi_homed_dev.txt"), b"h\nh\n lo: 1\neth0:1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6\n")
def net_dev(data: bytes) -> None:
    """Counters are never negative; half a file tells no other numbers; written and read again."""
    found = parse_net_dev(data)
    assert all(number >= 0 for counters in found.values() for number in counters)
    each = {item for line in data.split(b"\n")[2:] for item in parse_net_dev(b"\n\n" + line).items()}
    for half in halves(data):
        assert parse_net_dev(half).items() <= each
        assert not is_whole(half) or half.endswith(b"\n")
    written = "h\nh\n"
    for name, c in found.items():
        written += f"{name}: {c[0]} {c[1]} {c[2]} {c[3]} 0 0 0 0 {c[4]} {c[5]} {c[6]} {c[7]} 0 0 0 0\n"
    assert parse_net_dev(written.encode(errors="surrogateescape")) == found


@target(fixture("network/fixtures/multi_homed_route.txt"))
def routes(data: bytes) -> None:
    """Routes are those of whole lines: half a mask is another mask."""
    found = parse_routes(data)
    assert all(0 <= network < 2**32 and 0 < prefix_length <= 32 for _, network, prefix_length in found)
    for half in halves(data):
        assert parse_routes(half) <= found


@target(fixture("network/fixtures/multi_homed_if_inet6.txt"))
def inet6_addresses(data: bytes) -> None:
    """Addresses are those of whole lines: half a name is another interface."""
    found = parse_addresses(data)
    for half in halves(data):
        assert parse_addresses(half) <= found


@target(b"74   eth0            1     0     333300000001\n75   eth10 1 0 01005e000001\n")
def interface_indexes(data: bytes) -> None:
    """Indexes are those of whole lines."""
    found = parse_interface_indexes(data)
    assert all(0 <= index < 10**10 for index in found.values())
    each = {item for line in data.split(b"\n") for item in parse_interface_indexes(line).items()}
    for half in halves(data):
        assert parse_interface_indexes(half).items() <= each


@target(b"7 (a (b) c) S " + b"0 " * 18 + b"4711 0 0\n")
def process_start(data: bytes) -> None:
    """A time, or ValueError."""
    with contextlib.suppress(ValueError):
        assert start_ticks(data) >= 0


def fields_in_plain(data: bytes, prefix: bytes, name: bytes) -> int | None:
    *lines, _ = data.split(b"\n")
    at = next((number for number, line in enumerate(lines) if line.startswith(prefix)), len(lines))
    if at + 1 >= len(lines) or lines[at + 1].split()[:1] != [prefix]:
        return None
    names, values = lines[at].split(), lines[at + 1].split()
    position = names.index(name) if name in names else len(values)
    value = values[position] if position < len(values) else b""
    return int(value) if re.fullmatch(rb"[0-9]{1,20}", value) else None


@target(*(fixture(f"network/fixtures/{name}.txt") for name in ("snmp", "netstat", "sockstat")))
def tcp_counters(data: bytes) -> None:
    """As read in the plain way; half a file tells the same or nothing: half a number is a counter that fell."""

    def all_of(text: bytes) -> tuple[int | None, ...]:
        return (*parse_snmp(text), *parse_activity(text), parse_netstat(text), parse_sockstat(text))

    found = all_of(data)
    assert found[:3] == tuple(
        fields_in_plain(data, b"Tcp:", name) for name in (b"OutSegs", b"RetransSegs", b"CurrEstab")
    )
    assert found[5] == fields_in_plain(data, b"TcpExt:", b"ListenOverflows")
    for half in halves(data):
        assert all(some is None or some == whole for some, whole in zip(all_of(half), found, strict=True))


MOUNTINFO = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
31 30 0:50 / /var/lib/docker/volumes/ram/_data rw shared:9 master:1 - tmpfs tmpfs rw,size=50m
32 22 0:51 / /mnt/with\040space rw - nfs4 server:/a\134b rw,prjquota
33 22 0:52 / /mnt/over rw - tmpfs one rw
34 33 0:53 / /mnt/over rw - tmpfs two rw
"""


@target(MOUNTINFO)
def mountinfo(data: bytes) -> None:
    """The mount that holds a path is the innermost one; what was written as the kernel writes is read the same."""
    table = parse_mountinfo(data)
    mounts = [mount for path in table._paths if (mount := table.at(path)) is not None]
    for mount in mounts:
        assert mount.path.startswith("/")
        assert re.fullmatch("[0-9]+:[0-9]+", mount.device)
        assert table.holding(mount.path) == mount
        if mount.path == "/" or not mount.path.endswith("/"):
            inside = mount.path.rstrip("/") + "/inside"
            assert table.holding(inside) == (table.at(inside) or mount)
        assert table.filesystem_of(mount).device == mount.device
        for path in table.below(mount.path):
            assert table.at(mount.path.rstrip("/") + "/" + path) is not None
    again = parse_mountinfo("".join(map(written_mount, mounts)).encode(errors="surrogateescape"))
    assert [again.at(mount.path) for mount in mounts] == mounts


def written_mount(mount: MountPoint) -> str:
    def escaped(text: str) -> str:
        return re.sub(r"[ \t\n\\]", lambda match: f"\\{ord(match[0]):03o}", text)

    quota = "rw,prjquota" if mount.project_quota else "rw"
    places = f"{escaped(mount.root)} {escaped(mount.path)}"
    return f"1 1 {mount.device} {places} rw - {mount.fstype} {escaped(mount.source)} {quota}\n"


@target(
    b"8:0 rbytes=1327104 wbytes=52428800 rios=38\n253:0 wbytes=4096\n",
    b"254:0 Read 143360\n254:0 Write 8192\nTotal 155648\n",
    b"9:name=systemd:/docker/abc\n7:blkio:/docker/abc\n0::/\n",
)
def cgroup_files(data: bytes) -> None:
    """Sums of bytes, to which more lines only add; the group's path is one of the file's."""
    text = data.decode(errors="surrogateescape")
    assert parse_io_stat(text + "\n8:0 wbytes=5\n") == parse_io_stat(text) + 5
    assert parse_io_service_bytes(text + "\n8:0 Write 5\n") == parse_io_service_bytes(text) + 5
    assert min(parse_io_stat(text), parse_io_service_bytes(text)) >= 0
    group = cgroup_of(text)
    assert group is None or any(line.endswith(group[1]) for line in text.split("\n"))


# Messages of the kernel

NETLINK = [
    fixture(f"network/fixtures/netlink_{name}.bin.gz")
    for name in ("bridge", "macvlan", "overlay", "destroyed", "made_inside", "links", "stats", "namespace")
]


def messages_of(data: bytes) -> bytes:
    """As many messages as can be had of any bytes: where one was cut off, the rest is left out."""
    end = 0
    with contextlib.suppress(NetlinkError):
        for message in split_messages(data):
            end = message.end
    return data[: min(end + 3 & ~3, len(data))]


@target(*(seed[:4096] for seed in NETLINK))
def netlink_messages(data: bytes) -> None:
    """NetlinkError where a message was cut off; otherwise what is damaged in one message costs no other."""
    try:
        parse_events(data)
    except NetlinkError:
        data = messages_of(data)
    events = parse_events(data)
    links = [event for event in events if isinstance(event, LinkEvent)]
    messages = list(split_messages(data))
    of_links = [m for m in messages if m.type in (RTM_NEWLINK, RTM_DELLINK) and m.end - m.start >= 16]
    assert len(links) == sum(data[message.start] == 0 for message in of_links)
    assert all(number >= 0 for event in links for number in event.link.counters)
    if len(data) % 4 == 0:
        assert parse_events(data + NETLINK[1]) == events + parse_events(NETLINK[1])
    for message in messages:
        stats = parse_stats(data, message.start, message.end)
        assert stats is None or all(number >= 0 for number in stats[1])
        namespace = parse_namespace(data, message.start, message.end)
        assert namespace is None or namespace >= 0
        with contextlib.suppress(NetlinkError):
            raise_error(data, message.start)


@target(*(seed[:4096] for seed in NETLINK[:5]))
def link_changes(data: bytes) -> None:
    """Whatever the order of the kernel's messages, nothing is counted below zero, and nothing more than once."""
    links: Links[object] = Links(lambda: 0.0)
    devices = Devices({"a" * 64: Network("a" * 64, "o", "overlay", subnets=(Subnet("10.0.0.0/8"),))})
    with contextlib.suppress(NetlinkError):
        links.dump_ends([e.link for e in parse_events(NETLINK[5][:2048]) if isinstance(e, LinkEvent)], whole=True)
    for event in parse_events(messages_of(data)):
        departure = links.apply(event)
        if departure is not None:
            assert min(departure.counters) >= 0
            assert departure.gained is None or min(departure.gained) >= 0
            devices.network_of(departure.device, departure.mac)
    links.poll_begins()
    account = object()
    assert links.claim(1, 2, account) in (account, None)


SOCK_DIAG = fixture("network/fixtures/sock_diag.bin.gz")


@target(SOCK_DIAG, SOCK_DIAG[:400])
def connections(data: bytes) -> None:
    """OSError if the kernel refused; otherwise whole connections, and of a cut answer the first of them."""
    refused = False
    try:
        found, _ = parse_answer(data, 1)
    except OSError:
        refused, found = True, []
    assert all(c.rtt_microseconds > 0 and len(c.local) in (4, 16) and len(c.peer) in (4, 16) for c in found)
    for half in halves(data):
        with contextlib.suppress(OSError):
            some, _ = parse_answer(half, 1)
            assert refused or some == found[: len(some)]


# What the engine answers

ENGINE = json.loads(fixture("engine/fixtures/engine_20_10.json"))
ANSWERS = [json.dumps(value).encode() for value in ENGINE.values()]
EVENTS = fixture("engine/fixtures/events_20_10.jsonl")
LARGEST = 2**64


@target(*ANSWERS, b'{"Id":"\\ud800","Name":"/\\ud800","State":{"Pid":1e999,"Running":true},"RestartCount":-1}')
def engine_answers(data: bytes) -> None:
    """NONSENSE, or an object with its id and name, counts that a scraper can read, and labels that make a page."""
    try:
        value = json.loads(data)
    except NONSENSE:
        return
    for entry in value if isinstance(value, list) else [value]:
        container = either(parse_container, entry)
        if container is not None:
            assert container.id
            assert container.name
            assert 0 <= container.pid < LARGEST
            assert 0 <= container.restart_count < LARGEST
            assert math.isfinite(container.started_at)
            page_of(container.name, container.image, *container.labels.values())
        either(parse_listed_container, entry)
        network = either(parse_network, entry)
        if network is not None:
            assert network.id
            page_of(network.name)
            for pool in pools_of(network, container.endpoints if container else ()):
                assert 0 <= pool.used <= max(pool.size, 1)
            gateway_subnets([network])
        volume = either(parse_volume, entry)
        if volume is not None:
            page_of(volume.name, volume.driver)
        status = either(parse_volume_status, entry) or {}
        assert len(status) <= 32
        assert all(map(math.isfinite, status.values()))
        either(lambda both: parse_engine_info(both, both, "1.41"), entry)
        interfaces = either(engine_stats.parse_stats, entry) or {}
        assert all(0 <= number < LARGEST for counters in interfaces.values() for number in counters)


def either(parse: Callable[[Any], T], value: Any) -> T | None:
    try:
        return parse(value)
    except NONSENSE:
        return None


def page_of(*values: str) -> None:
    text = make_page([(VOLUME_INFO, [(label_set(("a",), (value,)), 1)]) for value in values[:1]]).in_format(
        Format.TEXT
    )
    assert as_utf8(values[0]).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") in text.decode()
    for value in values[1:]:
        label_set(("a",), (value,)).encode()


@target(EVENTS[:3000], b'{"Type":"a","Action":"b","time":[1]}\n\n{}\n{"Type":"a","Action":"b","timeNano":1e99}\n')
def event_stream(data: bytes) -> None:
    """Each line is one event, wherever the stream is cut into pieces; each is counted once; it can be resumed."""
    whole = list(events_in([data]))
    lines = [line for line in data.split(b"\n")[:-1] if line.strip()]
    assert len(whole) == len(lines)
    step = 1 + len(data) % 7
    assert list(events_in([data[at : at + step] for at in range(0, len(data), step)])) == whole
    ledger = Ledger()
    accepted = 0
    for event in whole:
        accepted += ledger.accept(event)
        assert event.kind == UNREADABLE or either(parse_event, json.loads(lines[whole.index(event)])) == event
        affected = affected_by(event)
        assert all(kind in ("container", "network", "volume") and key for kind, key in affected.objects)
        assert ":" not in action_of(event)
    assert ledger.counts.total() == accepted <= len(whole)
    assert len(ledger.counts) <= 201
    assert re.fullmatch(r"-?[0-9]+\.[0-9]{9}", ledger.resume_point(0.0))


def events_in(chunks: Sequence[bytes]) -> list[Any]:
    class Content:
        async def iter_any(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

    async def read() -> list[Any]:
        return [event async for event in _events_of(Content())]  # type: ignore[arg-type]

    return loop().run_until_complete(read())


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@target(b"1.41\xff1.12", b"1.99\xff1.44")
def api_versions(data: bytes) -> None:
    """A version that makes a path, or EngineError."""
    newest, *more = texts(data)
    with contextlib.suppress(EngineError):
        assert re.fullmatch(r"[0-9]+\.[0-9]+", negotiate(newest, more[0] if more else ""), re.ASCII)


@target(b"2024-01-02T03:04:05.123456789Z", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59.9-23:59")
def engine_times(data: bytes) -> None:
    """A finite number of seconds."""
    assert math.isfinite(parse_time(data.decode(errors="surrogateescape")))


# Evidence and accounts


@target(b"eth0 172.18.0.2 16 fd00::2 02:42\xffeth1 10.0.0.2 8 :: \xffeth1 10.0.0.2 33 x x")
def attribution(data: bytes) -> None:
    """No two interfaces share an endpoint; only what is there is attributed, to what is there."""
    endpoints, found, addresses, macs = [], set(), set(), {}
    interfaces = []
    for number, piece in enumerate(texts(data)[:8]):
        name, ipv4, prefix, ipv6, mac = (piece.split(" ") + [""] * 5)[:5]
        length = int(prefix) if re.fullmatch("[0-9]{1,3}", prefix) else 0
        endpoint = Endpoint(f"n{number}", "n", "e", ipv4, length, ipv6, length, mac)
        endpoints.append(endpoint)
        if name not in interfaces:
            interfaces.append(name)
        found.add((name, 0x0A000000, length))
        addresses.add((name, ipv6))
        macs[name] = mac
    result = attribute(interfaces, endpoints, Evidence(frozenset(found), frozenset(addresses), macs), {})
    assert result.keys() <= set(interfaces)
    assert len(set(result.values())) == len(result)
    assert set(result.values()) <= {endpoint.network_id for endpoint in endpoints}


@target(b"10.0.0.0/24\xff10.0.0.128/25\xff10.0.0.1\xff10.0.0.9", b"fd00::/64\xff\xfffd00::1/64", b"0.0.0.0/0\xff")
def address_pools(data: bytes) -> None:
    """Never more addresses taken than there are; whose peer an address is, is known or not."""
    subnet, *more = texts(data)
    ip_range, gateway, *addresses = [*more, "", ""]
    network = Network("n", "n", "bridge", subnets=(Subnet(subnet, ip_range, gateway, tuple(addresses[:2])),))
    endpoints = [
        Endpoint("n", "n", "e", ipv4=address, ipv4_prefix_length=24, ipv6=address) for address in addresses
    ]
    for pool in pools_of(network, endpoints):
        assert 0 <= pool.used <= max(pool.size, 1)
    peers = Peers(Container("c", "c", "x", "running", endpoints=tuple(endpoints)), {"n": network})
    for length in (4, 16):
        over = peers.over(data[:length].ljust(length, b"\x01"), data[length : 2 * length].ljust(length, b"\x02"))
        assert over is None or over[1] in ("network", "external")


@target(bytes(range(64)), b"\x00\x05\x09" * 20)
def accounts(data: bytes) -> None:
    """A network's totals never fall, whatever interfaces come, go and begin anew."""
    accounting = Accounting()
    before: dict[str, list[int]] = {}
    for at in range(0, len(data) - 3, 4):
        who, name, network, count = data[at : at + 4]
        counters = InterfaceCounters(*[count] * 8)
        networks = {f"eth{name % 3}": f"n{network % 3}"} if network % 4 else {}
        key = (f"c{who % 3}", who % 2, 0.0)
        indexes = {f"eth{name % 3}": who & 4}
        accounting.take(
            Reading(key, {f"eth{name % 3}": counters}, networks, born_watched=bool(who & 8), indexes=indexes)
        )
        for owner, totals in before.items():
            assert all(now >= then for now, then in zip(accounting.totals[owner], totals, strict=True))
        before = {owner: list(totals) for owner, totals in accounting.totals.items()}


@target(b"web\xffapp\xff\xff7", b"a\xffb\xffa\xffb")
def inventory_names(data: bytes) -> None:
    """Containers and networks never share a name on the page."""
    inventory = Inventory()
    for number, name in enumerate(texts(data)[:12]):
        inventory.put_network(Network(f"{len(name)}{number}" * 8, name, "bridge", created_at=len(name) % 3))
        inventory.put_container(Container(f"c{number % 5}", name, "x", "running"))
    labels = [inventory.network_label(network) for network in inventory.networks]
    assert len(set(labels)) == len(labels)
    names = [container.name for container in inventory.containers.values()]
    assert len(set(names)) == len(names)


# The page and the log


@target(
    b'quote " back\\slash\nline\xff\r\x00\x1b[31m\xff\xed\xa0\x80\xfe',
    "üñî\u2028\U0001f40b".encode(),
    b"\\n\\\xff",
)
def page(data: bytes) -> None:
    """Any text in a label is read back from a page that is UTF-8, in both formats, by another's parser."""
    values = list({as_utf8(text): text for text in texts(data)}.values())
    made = make_page(
        [(NETWORK_INFO, [(label_set(NETWORK_INFO.labels, (value, *[""] * 10)), 1) for value in values])]
    )
    for read, form in ((read_text, Format.TEXT), (read_openmetrics, Format.OPENMETRICS)):
        samples = [sample for family in read(made.in_format(form).decode()) for sample in family.samples]
        assert [sample.labels["network"] for sample in samples] == [as_utf8(value) for value in values]
    assert re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", label_name(values[0]))


class _Cells(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")


@target(b"<script>alert(1)</script>\xff</td></table>\xff&amp;&#60;\"'", b"\xed\xa0\x80")
def status_page(data: bytes) -> None:
    """What comes from outside is text on the status page and nothing else, and the page is UTF-8."""
    rows = [StatusRow(text, text, number % 2 == 0) for number, text in enumerate(texts(data))]
    html = render_status("1", "/metrics", rows)
    parser = _Cells()
    parser.feed(html.encode().decode())
    assert parser.tags.count("td") == parser.tags.count("/td") == len(rows)
    assert "script" not in parser.tags
    if "\0" not in html and "\r" not in html:
        assert parser.cells == [as_utf8(cell) for row in rows for cell in (row.name, row.value)]


@target(b'web\nts=2024 level=error event="forged"\xff\x1b[2J\r\xe2\x80\xa8\xffplain', b"x" * 3000, b"\xed\xa0\x80")
def log_lines(data: bytes) -> None:
    """A line of the log is one printable line of bounded length, whatever is in it; in JSON nothing is lost."""
    for form in ("logfmt", "json"):
        stream = io.StringIO()
        logs.configure("info", form, stream)
        for text in texts(data)[:4]:
            stream.seek(0)
            stream.truncate()
            logs.get_logger().warning("capacity of volume not usable", volume=text, value=text)
            line = stream.getvalue()
            assert line.endswith("\n")
            assert line[:-1].isprintable()
            assert len(line) < 30_000
            if form == "json":
                assert json.loads(line)["volume"][:1000] == text[:1000]


# Settings and headers


@target(b"1m30s", b"100ms", b"5", b"999999999d", b"0.1s")
def durations(data: bytes) -> None:
    """PydanticCustomError, or a finite time that is read again as it was printed."""
    try:
        duration = Duration.parse(data.decode(errors="surrogateescape"))
    except PydanticCustomError:
        return
    assert math.isfinite(duration)
    assert duration >= 0
    assert abs(Duration.parse(str(duration)) - duration) <= 0.001 + duration * 1e-12


@target(b"[::1]:80", b":10420", b"127.0.0.1:0", b"host:99999")
def listen_addresses(data: bytes) -> None:
    """PydanticCustomError, or a host and a port that exists."""
    try:
        address = ListenAddress(data.decode(errors="surrogateescape"))
    except PydanticCustomError:
        return
    assert 0 <= address.port <= 65535
    assert address.host is None or (address.host and "/" not in address.host)


@target(b"(a|b)*", b"a{99999999999999999999}", b"[[a", b"(" * 3000, b"(?P<x>")
def name_patterns(data: bytes) -> None:
    """PydanticCustomError, or an expression."""
    with contextlib.suppress(PydanticCustomError):
        assert NamePattern(data.decode(errors="surrogateescape")).compiled is not None


@target(b"50GB", b"1.5 kiB", b"53687091200", b"999999999999999999p")
def sizes(data: bytes) -> None:
    """ValueError that says what is allowed, or bytes; more with a greater unit."""
    text = data.decode(errors="surrogateescape")
    try:
        size = parse_size(text)
    except ValueError as error:
        assert "50GiB" in str(error)  # noqa: PT017 - either is right
    else:
        assert size >= 1
        assert len(str(size)) > 18 or parse_size(str(size)) == size
    with contextlib.suppress(PydanticCustomError):
        assert DeclaredCapacity(text).bytes >= 1


@target(b"--poll.interval=5s\0--web.listen-address=[::1]:80", b"check\0--log.level\0warn", b"--container.labels=[")
def command_line(data: bytes) -> None:
    """Settings, or UsageError with one line."""
    arguments = [argument.decode(errors="surrogateescape") for argument in data.split(b"\0")]
    if any(argument.startswith(("-h", "--h")) for argument in arguments):
        return  # it prints the help and exits
    try:
        load(arguments, {})
    except UsageError as error:
        assert str(error)  # noqa: PT017 - either is right
        assert "\n" not in str(error)  # noqa: PT017


@target(
    b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=2",
    b"gzip;q=0, *",
    b"text/plain;q=nan",
)
def accept_headers(data: bytes) -> None:
    """A format that is offered, OpenMetrics only if it is named; what has no weight is not sent."""
    header = data.decode(errors="surrogateescape")
    form = choose_format(header)
    assert form is Format.TEXT or "openmetrics" in header.lower()
    assert choose_format("application/openmetrics-text") is Format.OPENMETRICS
    assert isinstance(accepts_gzip(header), bool)
    assert not accepts_gzip(header + ",gzip;q=0")
    assert accepts_gzip(header + ",gzip;q=0.001")


# The walker's protocol

SPACE = {"size_bytes": 1, "free_bytes": 1, "available_bytes": 1, "inodes": 1, "inodes_free": 1, "seconds": 0.1}


@target(
    json.dumps({**SPACE, "project": {"is_own": True}, "has_encrypted_names": False}).encode() + b"\n",
    b'{"used_bytes": 1, "inodes_used": 2, "seconds": 1e999}\n',
    b'{"error": "missing", "message": "x"}\n',
)
def walker_answers(data: bytes) -> None:
    """MeasureError, or numbers that are none below zero."""
    with contextlib.suppress(MeasureError):
        space = parse_space(data)
        assert min(space.size_bytes, space.free_bytes, space.available_bytes, space.inodes, space.inodes_free) >= 0
    with contextlib.suppress(MeasureError):
        assert parse_directory(data).space.size_bytes >= 0
    with contextlib.suppress(MeasureError):
        found = parse_measurement(data)
        assert min(found.used_bytes, found.inodes_used) >= 0


@target(b"a", b"a\0b", b"x" * 5000, b"\xed\xa0\x80", b"..")
def walker_requests(data: bytes) -> None:
    """Of any path there is an answer in JSON, measured or an error with its reason."""
    name = data.decode(errors="surrogateescape")
    operations = ("space", "directory") if ".." in name else ("space", "directory", "usage")
    for operation in operations:
        for path in (f"{empty_folder()}/{name}", f"{empty_folder()}/\ud800{name}"):
            given = {"operation": operation, "path": path, "nested": [name]}
            told = json.loads(json.dumps(answer(json.loads(json.dumps(given)))))
            assert told["seconds"] >= 0
            assert "error" in told or "size_bytes" in told or "used_bytes" in told


@cache
def empty_folder() -> str:
    return tempfile.mkdtemp(prefix="netvol-fuzz-")


@target(b"\x00\x08\x10\x81\x81\x09\x00", bytes(range(256)))
def find_output(data: bytes) -> None:
    """The sum of find's output is the same wherever that is cut; a file with several names counts once."""
    names = Counter(byte & 7 for byte in data if byte & 0x80)
    output, blocks = "", 0
    for byte in data:
        if byte & 0x80:
            output += f" \n{(byte & 7) * 8}:{byte & 7}:{names[byte & 7]}"
        else:
            output += f" \n{byte // 8 * 8}"
            blocks += byte // 8 * 8
    step = 1 + (data[0] if data else 0)
    found = FoundInodes()
    for at in range(0, len(output), step):
        found.add(output[at : at + step].encode())
    found.end()
    assert found.inodes == len(data) - names.total() + len(names)
    assert found.blocks == blocks + 8 * sum(names)
    with contextlib.suppress(ValueError):
        FoundInodes().add(data)
