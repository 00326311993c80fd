from hypothesis import given
from hypothesis import strategies as st

from exporter.volume.schedule import Schedule


def test_a_new_volume_is_due_at_once_and_again_after_the_interval() -> None:
    schedule = Schedule(60, 0.05)
    schedule.add("v")
    assert schedule.next(0) == ("v", 0)
    schedule.done("v", 0.1, 0.1)
    name, until = schedule.next(1)
    assert name is None
    assert until == 60.1
    assert schedule.next(61) == ("v", 61)


def test_a_dear_volume_is_measured_rarely() -> None:
    schedule = Schedule(60, 0.05)
    schedule.add("v")
    schedule.done("v", 100, 100)
    assert schedule.next(100 + 1899)[0] is None
    assert schedule.next(100 + 1901)[0] == "v"


def test_a_new_volume_does_not_wait_for_the_rest_after_a_long_walk() -> None:
    schedule = Schedule(60, 0.05)
    schedule.add("big")
    schedule.done("big", 100, 100)
    schedule.add("new")
    assert schedule.next(101)[0] == "new"


def test_a_volume_to_which_something_happened_is_due_at_once() -> None:
    schedule = Schedule(60, 0.05)
    schedule.add("v")
    schedule.done("v", 0, 0.1)
    schedule.hurry("v")
    assert schedule.next(1)[0] == "v"


def test_a_removed_volume_is_due_no_more() -> None:
    schedule = Schedule(60, 0.05)
    schedule.add("v")
    schedule.done("v", 0, 0.1)
    schedule.remove("v")
    assert schedule.next(1000)[0] is None
    assert "v" not in schedule


@given(st.lists(st.floats(0.001, 30), min_size=1, max_size=20), st.integers(1, 5))
def test_walking_again_keeps_to_its_share_of_time(durations: list[float], volumes: int) -> None:
    schedule = Schedule(10, 0.05)
    now = 0.0
    for number in range(volumes):
        schedule.add(str(number))
        schedule.done(str(number), now, 0.001)
    start, walked = now, 0.0
    for seconds in durations:
        name, until = schedule.next(now)
        if name is None:
            now = until
            name, _ = schedule.next(now)
        assert name is not None
        now += seconds
        walked += seconds
        schedule.done(name, now, seconds)
    _, until = schedule.next(now)
    assert walked / (until - start) <= 0.051
