import contextlib
import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.network.counters import InterfaceCounters
from exporter.network.netlink import (
    NLM_F_DUMP,
    NLMSG_DONE,
    RTM_DELNSID,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_NEWSTATS,
    Link,
    LinkEvent,
    NamespaceGone,
    NetlinkError,
    counters_request,
    links_request,
    namespace_request,
    parse_events,
    parse_interface_indexes,
    parse_link,
    parse_namespace,
    parse_stats,
    raise_error,
    split_messages,
)

FIXTURES = Path(__file__).parent / "fixtures"


def captured(name: str) -> bytes:
    """Bytes that a real kernel (6.18) sent while engine 20.10 started and stopped a container."""
    return gzip.decompress((FIXTURES / f"netlink_{name}.bin.gz").read_bytes())


def links_of_a_host() -> dict[str, Link]:
    data = captured("links")
    messages = [m for m in split_messages(data) if m.type == RTM_NEWLINK]
    events = [parse_link(data, m.start, m.end) for m in messages]
    return {event.link.name: event.link for event in events if event is not None}


def test_the_links_of_a_docker_host_are_read() -> None:
    links = links_of_a_host()
    bridge = links["br-3e9efff77036"]
    assert bridge == Link(5, "br-3e9efff77036", "bridge", "02:42:fc:19:11:5e", counters=bridge.counters)
    assert bridge.counters.receive_packets > 0
    assert links["par0"].peer == links["par1"].ifindex
    assert links["par0"].peer_namespace is None


def test_the_host_s_end_of_a_container_s_pair_names_bridge_and_other_end() -> None:
    end = links_of_a_host()["vethb8cc032"]
    assert (end.kind, end.master, end.peer) == ("veth", 5, 74)
    assert end.peer_namespace is not None


def test_the_counters_of_all_links_are_read_without_their_names() -> None:
    data = captured("stats")
    stats = dict(
        filter(None, (parse_stats(data, m.start, m.end) for m in split_messages(data) if m.type == RTM_NEWSTATS))
    )
    assert stats[5] == links_of_a_host()["br-3e9efff77036"].counters
    assert len(stats) == len(links_of_a_host())


def test_the_id_of_a_container_s_namespace_is_that_of_its_pair_s_other_end() -> None:
    data = captured("namespace")
    answer = next(split_messages(data))
    assert parse_namespace(data, answer.start, answer.end) == links_of_a_host()["vethb8cc032"].peer_namespace


def test_the_return_of_a_container_s_interface_carries_both_directions_its_deletion_does_not() -> None:
    events = [e for e in parse_events(captured("bridge")) if isinstance(e, LinkEvent) and e.link.ifindex == 57]
    created, moved, returned, deleted = events
    assert created.link.counters == InterfaceCounters()
    assert moved.gone
    assert moved.moved_to == (2, 57)
    assert returned.link.counters == InterfaceCounters(1422, 13, transmit_bytes=336, transmit_packets=4)
    assert returned.link.mac == "02:42:ac:12:00:02"
    assert deleted.gone
    assert deleted.moved_to is None
    assert deleted.link.counters == InterfaceCounters(transmit_bytes=336, transmit_packets=4)


def test_what_a_bridge_tells_of_its_ports_is_not_taken_for_the_end_of_a_link() -> None:
    data = captured("bridge")
    messages = [m for m in split_messages(data) if data[m.start] != 0]
    assert messages
    assert all(parse_link(data, m.start, m.end) is None for m in messages)


def test_a_missed_packet_counts_as_dropped_like_in_proc_net_dev() -> None:
    stats = struct.pack("=16Q", 1, 2, 3, 4, 5, 6, 7, 8, *[0] * 7, 100)
    payload = struct.pack("=BxHiII", 0, 0, 9, 0, 0) + struct.pack("=HH", 4 + len(stats), 23) + stats
    event = parse_link(payload, 0, len(payload))
    assert event is not None
    assert event.link.counters == InterfaceCounters(3, 1, 5, 107, 4, 2, 6, 8)


def test_a_link_of_an_old_kernel_keeps_its_index_when_it_moves() -> None:
    payload = struct.pack("=BxHiII", 0, 0, 9, 0, 0) + struct.pack("=HHi", 8, 45, 3)
    event = parse_link(payload, 0, len(payload))
    assert event is not None
    assert event.moved_to == (3, 9)


def test_the_end_of_a_namespace_is_told() -> None:
    payload = bytes(4) + struct.pack("=HHi", 8, 1, 7)
    datagram = struct.pack("=IHHII", 16 + len(payload), RTM_DELNSID, 0, 0, 0) + payload
    assert parse_events(datagram) == [NamespaceGone(7)]


def test_a_namespace_without_id_has_none() -> None:
    payload = bytes(4) + struct.pack("=HHi", 8, 1, -1)
    assert parse_namespace(payload, 0, len(payload)) is None


def test_a_message_that_was_cut_off_is_noticed() -> None:
    whole = captured("macvlan")
    with pytest.raises(NetlinkError, match="cut off"):
        parse_events(whole[:-8])


def test_an_error_is_raised_with_the_system_s_words() -> None:
    with pytest.raises(NetlinkError, match="No such process"):
        raise_error(struct.pack("=i", -3), 0)
    raise_error(struct.pack("=i", 0), 0)


def test_requests_have_the_form_of_messages() -> None:
    for request in (links_request(), counters_request(), counters_request(5), namespace_request(pid=1)):
        [message] = split_messages(request.pack(77))
        assert (message.type, message.sequence) == (request.type, 77)
        assert message.flags & 1
    assert links_request().type == RTM_GETLINK
    assert links_request().flags == NLM_F_DUMP
    assert NLMSG_DONE == 3


def test_indexes_of_interfaces_are_read_without_privilege() -> None:
    text = b"74   eth0            1     0     333300000001\n74   eth0 1 0 01005e000001\n2    eth1 1 0 x\n"
    assert parse_interface_indexes(text) == {"eth0": 74, "eth1": 2}


@given(st.binary())
def test_bytes_of_any_form_raise_nothing_but_that_they_were_cut_off(data: bytes) -> None:
    parse_interface_indexes(data)
    parse_link(data, 0, len(data))
    parse_stats(data, 0, len(data))
    parse_namespace(data, 0, len(data))
    with contextlib.suppress(NetlinkError):
        parse_events(data)


@given(st.integers(0, 50_000), st.integers(0, 255), st.integers(0, 50_000))
def test_a_damaged_message_raises_nothing_but_that_it_was_cut_off(at: int, byte: int, length: int) -> None:
    data = bytearray(captured("overlay")[:length])
    if data:
        data[at % len(data)] = byte
    with contextlib.suppress(NetlinkError):
        parse_events(bytes(data))


@given(
    st.integers(0, 2**31 - 1),
    st.text("abc-0", max_size=15),
    st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=8),
)
def test_what_is_written_is_read(ifindex: int, name: str, numbers: list[int]) -> None:
    c = numbers
    stats = struct.pack("=24Q", c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], *[0] * 16)
    text = name.encode() + b"\0"
    payload = struct.pack("=BxHiII", 0, 0, ifindex, 0, 0)
    payload += struct.pack("=HH", 4 + len(text), 3) + text + bytes(-len(text) % 4)
    payload += struct.pack("=HH", 4 + len(stats), 23) + stats
    event = parse_link(payload, 0, len(payload))
    assert event is not None
    assert event.link == Link(
        ifindex, name, counters=InterfaceCounters(c[2], c[0], c[4], c[6], c[3], c[1], c[5], c[7])
    )


def test_the_greatest_error_number_is_an_error_too() -> None:
    with pytest.raises(NetlinkError, match="Unknown error"):
        raise_error(struct.pack("=i", -(2**31)), 0)


def test_half_a_line_of_indexes_is_passed_over() -> None:
    text = b"74   eth10            1     0     333300000001\n"
    assert {tuple(parse_interface_indexes(text[:end])) for end in range(len(text))} == {(), ("eth10",)}
