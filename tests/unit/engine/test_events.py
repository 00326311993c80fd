import json
from pathlib import Path

import pytest

from exporter.engine.events import Affected, Ledger, action_of, affected_by
from exporter.engine.parse import Event, parse_event, unreadable_event

SECOND = 1_000_000_000


def event(number: int, action: str = "start", kind: str = "container") -> Event:
    return Event(kind, action, f"id{number}", number * SECOND)


@pytest.mark.parametrize(
    ("action", "label"),
    [
        ("health_status: healthy", "health_status"),
        ("exec_create: /bin/sh -c true", "exec"),
        ("exec_start: ls", "exec"),
        ("exec_die", "exec"),
        ("top", "exec"),
        ("start", "start"),
    ],
)
def test_an_action_is_counted_without_its_particulars(action: str, label: str) -> None:
    assert action_of(Event("container", action, "c", 1)) == label


def test_a_start_makes_its_container_dirty() -> None:
    assert affected_by(Event("container", "start", "c", 1)) == Affected((("container", "c"),))


def test_a_health_check_changes_nothing() -> None:
    assert affected_by(Event("container", "exec_start: true", "c", 1)) == Affected()


def test_connecting_makes_the_network_and_the_container_dirty() -> None:
    connect = Event("network", "connect", "n", 1, attributes={"container": "c"})
    assert affected_by(connect).objects == (("network", "n"), ("container", "c"))


def test_a_prune_makes_all_objects_of_its_kind_dirty_since_20_10_names_none() -> None:
    assert affected_by(Event("volume", "prune", "", 1)).everything == "volume"


def test_a_swarm_wide_network_event_makes_all_networks_dirty() -> None:
    assert affected_by(Event("network", "create", "n", 1, scope="swarm")).everything == "network"


def test_events_of_other_kinds_change_nothing() -> None:
    assert affected_by(Event("image", "pull", "i", 1)) == Affected()


def test_every_event_is_counted_once_also_when_it_is_replayed() -> None:
    lines = (Path(__file__).parent / "fixtures" / "events_20_10.jsonl").read_text().splitlines()
    events = [parse_event(json.loads(line)) for line in lines]
    ledger = Ledger()
    ledger.reopened()
    accepted = [ledger.accept(item) for item in events]
    assert all(accepted)
    ledger.reopened()
    assert not any(ledger.accept(item) for item in events)
    assert ledger.counts.total() == len(events)
    assert ledger.gaps == 0


def test_a_stream_resumes_two_seconds_before_its_last_event() -> None:
    ledger = Ledger()
    assert ledger.resume_point(1.5) == "1.500000000"
    ledger.accept(event(10))
    assert ledger.resume_point(1.5) == "8.000000000"


def test_a_replay_that_starts_after_the_last_event_seen_is_a_gap() -> None:
    ledger = Ledger()
    ledger.accept(event(1))
    ledger.reopened()
    ledger.accept(event(300))
    assert ledger.gaps == 1
    ledger.accept(event(301))
    assert ledger.gaps == 1


def test_a_replay_with_the_last_event_seen_is_no_gap() -> None:
    ledger = Ledger()
    ledger.accept(event(1))
    ledger.accept(event(2))
    ledger.reopened()
    for number in (1, 2, 3):
        ledger.accept(event(number))
    assert ledger.gaps == 0


def test_a_restarted_engine_that_replays_nothing_leaves_a_gap() -> None:
    ledger = Ledger()
    ledger.accept(event(1))
    ledger.reopened()
    assert ledger.replay_ended()
    assert ledger.gaps == 1
    assert not ledger.replay_ended()


def test_a_whole_ring_is_a_gap_where_no_event_was_seen_before() -> None:
    ledger = Ledger()
    ledger.reopened()
    ledger.reopened()
    for number in range(255):
        ledger.accept(event(number))
    assert ledger.gaps == 0
    ledger.accept(event(255))
    assert ledger.gaps == 1


@pytest.mark.parametrize("openings", [1, 2])
def test_many_events_are_no_gap_at_the_first_opening_nor_once_the_stream_is_live(openings: int) -> None:
    ledger = Ledger()
    for _ in range(openings):
        ledger.reopened()
    if openings > 1:
        ledger.stream_is_live()
    for number in range(1000):
        ledger.accept(event(number))
    assert ledger.gaps == 0


def test_a_first_opening_awaits_nothing() -> None:
    ledger = Ledger()
    ledger.reopened()
    assert not ledger.replay_ended()


def test_out_of_memory_events_are_counted_by_container() -> None:
    ledger = Ledger()
    ledger.accept(event(1, "oom"))
    assert ledger.out_of_memory == {"id1": 1}


def test_out_of_memory_events_of_containers_that_are_gone_are_forgotten() -> None:
    ledger = Ledger()
    for number in range(1000):
        ledger.accept(event(number, "oom"))
        ledger.accept(event(number, "destroy"))
    assert not ledger.out_of_memory


def test_a_replay_of_more_than_the_ring_counts_nothing_twice() -> None:
    """Podman replays from its journal, without end."""
    ledger = Ledger()
    events = [Event("container", "start", f"id{number}", SECOND + number * 1_000_000) for number in range(5000)]
    for item in events:
        assert ledger.accept(item)
    ledger.reopened()
    overlap = [item for item in events if item.time_nano >= events[-1].time_nano - 2 * SECOND]
    assert len(overlap) > 2000
    assert not any(map(ledger.accept, overlap))
    assert ledger.gaps == 0
    for number in range(10, 3000):
        ledger.accept(event(number))
    assert len(ledger._seen) <= 512


def test_after_a_step_of_the_engine_s_clock_events_are_asked_for_from_the_new_time() -> None:
    ledger = Ledger()
    ledger.accept(event(5000))
    ledger.accept(event(100))
    assert ledger.resume_point(0) == "98.000000000"
    ledger.accept(unreadable_event(b"no event"))
    assert ledger.resume_point(0) == "98.000000000"
    ledger.reopened()
    ledger.accept(event(100))
    assert not ledger.replay_ended()
    for number in range(101, 3000):
        ledger.accept(event(number))
    assert len(ledger._seen) <= 512


def test_unheard_of_actions_cannot_grow_the_page_without_bound() -> None:
    ledger = Ledger()
    for number in range(1000):
        ledger.accept(event(number, f"novelty{number}"))
    assert len(ledger.counts) <= 201
    assert ledger.counts.total() == 1000
