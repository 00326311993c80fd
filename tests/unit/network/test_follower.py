import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Network
from exporter.network.accounting import Accounting, InterfaceAccount, Reading
from exporter.network.counters import NO_TRAFFIC, InterfaceCounters
from exporter.network.follower import Follower
from exporter.network.links import Departure

KEY = ("web", 1, 1.0)
BRIDGE = f"br-{'a' * 12}"


class FakeDepartures:
    """Departures that claim what they are told to."""

    ready = True
    overruns = 3

    def __init__(self) -> None:
        self.claims: list[tuple[int, int, str]] = []
        self.claimed: Any = "the same"
        self.settled = True

    def poll_begins(self) -> None:
        pass

    async def settle(self) -> bool:
        return self.settled

    def claim(self, namespace: int, ifindex: int, account: InterfaceAccount, mac: str) -> Any:
        self.claims.append((namespace, ifindex, mac))
        return account if self.claimed == "the same" else self.claimed


@pytest.fixture
def accounting() -> Accounting:
    return Accounting()


@pytest.fixture
def follower(accounting: Accounting) -> Follower:
    inventory = Inventory()
    inventory.put_network(Network("a" * 64, "app", "bridge"))
    return Follower(inventory, accounting)


def follow(follower: Follower, *, settled: bool = True, namespace: int | None = 5) -> FakeDepartures:
    departures = FakeDepartures()
    follower._departures = departures  # type: ignore[assignment]
    follower._active, follower._settled = True, settled
    if namespace is not None:
        follower._namespaces[KEY] = namespace
    return departures


def reading(received: int = 100, *, index: int | None = 7) -> Reading:
    indexes = {"eth0": index} if index is not None else {}
    counters = {"eth0": InterfaceCounters(received)}
    return Reading(KEY, counters, {"eth0": "a" * 64}, born_watched=True, indexes=indexes, macs={"eth0": "02:42"})


def departure(account: InterfaceAccount | None, received: int, gained: int | None = None, **more: Any) -> Any:
    counters = None if gained is None else InterfaceCounters(gained)
    return Departure(InterfaceCounters(received), counters, account, more.pop("device", BRIDGE), "", 1.0, **more)


def received(accounting: Accounting) -> int:
    return accounting.totals.get("a" * 64, NO_TRAFFIC)[0]


def test_where_nobody_listens_polls_alone_count(follower: Follower, accounting: Accounting) -> None:
    assert accounting.take(reading(), follower.claim)
    assert received(accounting) == 100
    assert follower.overruns is None


def test_a_departure_credits_what_was_counted_since_the_last_poll(
    follower: Follower, accounting: Accounting
) -> None:
    departures = follow(follower)
    assert accounting.take(reading(100), follower.claim)
    assert departures.claims == [(5, 7, "02:42")]
    account = accounting._namespaces[KEY]["eth0"]
    follower._departed(departure(account, 160))
    assert received(accounting) == 160
    follower._departed(departure(account, 160))
    assert received(accounting) == 160


def test_what_was_never_polled_is_credited_to_the_network_of_its_bridge(
    follower: Follower, accounting: Accounting
) -> None:
    follow(follower)
    follower._departed(departure(None, 70, gained=60))
    assert received(accounting) == 60
    follower._departed(departure(None, 70, gained=None))
    follower._departed(departure(None, 70, gained=60, balancer=True))
    follower._departed(departure(None, 70, gained=60, device="eth9"))
    assert received(accounting) == 60


def test_what_lived_for_minutes_without_being_polled_is_no_container_s(
    follower: Follower, accounting: Accounting
) -> None:
    follow(follower)
    old = departure(None, 70, gained=60)
    follower._departed(replace(old, lived_seconds=100.0))
    assert received(accounting) == 0


def test_what_lived_for_minutes_while_the_engine_was_away_is_a_container_s(
    follower: Follower, accounting: Accounting
) -> None:
    follow(follower)
    follower.silent_seconds = lambda: 100.0
    old = departure(None, 70, gained=60)
    follower._departed(replace(old, lived_seconds=100.0))
    assert received(accounting) == 60
    follower._departed(replace(old, lived_seconds=170.0))
    assert received(accounting) == 60


async def test_a_departure_from_a_network_that_is_not_known_yet_is_credited_once_it_is(
    follower: Follower, accounting: Accounting
) -> None:
    follow(follower)
    follower._departed(departure(None, 70, gained=60, device=f"br-{'b' * 12}"))
    assert accounting.totals == {}
    follower._inventory.put_network(Network("b" * 64, "late", "bridge"))
    await follower.poll_ends([])
    assert accounting.totals["b" * 64][0] == 60
    await follower.close()


async def test_a_process_that_ends_between_its_read_and_the_question_is_not_counted_twice(
    follower: Follower, accounting: Accounting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_self: object, _process: object) -> None:
        raise ProcessLookupError(3, "no such process")

    monkeypatch.setattr("exporter.network.netlink_socket.Netlink.namespace_of", gone)
    follow(follower, namespace=None)
    await follower.poll_ends([reading()])
    follower._departed(departure(None, 100, gained=100))
    assert not accounting.take(reading(), follower.claim)
    assert received(accounting) == 100
    await follower.close()


def test_what_left_while_it_was_polled_is_not_counted_twice(follower: Follower, accounting: Accounting) -> None:
    departures = follow(follower)
    departures.claimed = None
    follower._departed(departure(None, 100, gained=100))
    assert not accounting.take(reading(100), follower.claim)
    assert received(accounting) == 100


def test_with_a_source_that_tells_no_indexes_polls_alone_count(follower: Follower, accounting: Accounting) -> None:
    departures = follow(follower)
    follower.poll_begins(by_index=False)
    assert accounting.take(reading(100, index=None), follower.claim)
    follower._departed(departure(None, 160, gained=160))
    assert received(accounting) == 100
    assert departures.claims == []


def test_nothing_new_is_counted_before_the_links_are_known(follower: Follower, accounting: Accounting) -> None:
    follow(follower, settled=False)
    assert not accounting.take(reading(100), follower.claim)
    assert received(accounting) == 0
    follower._settled = True
    assert accounting.take(reading(130), follower.claim)
    assert received(accounting) == 130


def test_a_container_from_before_is_not_counted_from_zero_because_its_claim_came_late(
    follower: Follower, accounting: Accounting
) -> None:
    follow(follower, settled=False)
    before = Reading(KEY, {"eth0": InterfaceCounters(1000)}, {"eth0": "a" * 64}, indexes={"eth0": 7})
    accounting.take(before, follower.claim)
    follower._settled = True
    accounting.take(
        Reading(KEY, {"eth0": InterfaceCounters(1500)}, {"eth0": "a" * 64}, indexes={"eth0": 7}), follower.claim
    )
    assert received(accounting) == 500


def test_a_namespace_without_link_to_this_one_is_counted_by_polls(
    follower: Follower, accounting: Accounting
) -> None:
    departures = follow(follower, namespace=None)
    accounting.take(reading(100), follower.claim)
    assert received(accounting) == 100
    assert departures.claims == []


async def test_a_namespace_without_link_is_asked_for_again_only_when_it_has_other_interfaces(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def namespace_id(container_id: str, _process: Path) -> None:
        asked.append(container_id)

    monkeypatch.setattr(follower, "_namespace_id", namespace_id)
    follow(follower, namespace=None)
    for each in (reading(), reading(100), reading(200, index=9), reading(300, index=9)):
        await follower.poll_ends([each])
    assert len(asked) == 2
    follower.keep_only(frozenset())
    await follower.poll_ends([reading(300, index=9)])
    assert len(asked) == 3
    await follower.close()


def test_an_interface_whose_index_is_not_known_yet_waits(follower: Follower, accounting: Accounting) -> None:
    follow(follower)
    assert not accounting.take(reading(100, index=None), follower.claim)
    assert received(accounting) == 0


async def test_namespaces_that_cannot_be_told_apart_end_the_following_so_that_nothing_counts_twice(
    follower: Follower, accounting: Accounting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: object, _process: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("exporter.network.netlink_socket.Netlink.namespace_of", refuse)
    follow(follower, namespace=None)
    await follower.poll_ends([reading()])
    assert accounting.take(reading(), follower.claim)
    follower._departed(departure(None, 100, gained=100))
    assert received(accounting) == 100
    await follower.close()


async def test_a_sandbox_without_netlink_is_told_and_does_not_end_the_exporter(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(follower._departures, "run", refuse)
    await follower.run()
    assert follower.overruns is None
    await follower.close()


async def test_links_of_this_namespace_are_followed(follower: Follower) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(follower.run())
        await asyncio.sleep(0)
        follower.poll_begins(by_index=True)
        await follower.poll_ends([reading()])
        assert follower._settled
        assert await follower.bridge_counters() == {}
        follower.keep_only(frozenset())
        task.cancel()
    await follower.close()


async def test_a_number_that_another_process_has_by_now_is_not_taken_for_the_container_s_namespace(
    accounting: Accounting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between the read of the counters and the question for the namespace the container may end."""
    monkeypatch.setattr("exporter.network.netlink_socket.Netlink.namespace_of", lambda _self, _process: 9)
    follower = Follower(Inventory(), accounting, tmp_path)
    departures = follow(follower, namespace=None)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "cgroup").write_text("0::/docker/another\n")
    await follower.poll_ends([reading()])
    assert not accounting.take(reading(), follower.claim)
    assert departures.claims == []
    follower.keep_only(frozenset())
    (tmp_path / "1" / "cgroup").write_text("0::/docker/web\n")
    await follower.poll_ends([reading()])
    assert accounting.take(reading(), follower.claim)
    assert departures.claims == [(9, 7, "02:42")]
    await follower.close()
