from hypothesis import given
from hypothesis import strategies as st

from exporter.volume.schedule import URGENT_REST_SECONDS, Schedule


def schedule_of(*names: str, group: str = "8:1", is_idle: bool = False, max_age_seconds: float = 3600) -> Schedule:
    schedule = Schedule(60, 0.05, max_age_seconds)
    for name in names:
        schedule.add(name, group, is_idle=is_idle)
    return schedule


def walk(schedule: Schedule, now: float, seconds: float) -> str | None:
    """Let the next volume be walked in this time."""
    name, _ = schedule.next(now)
    if name is not None:
        schedule.done(name, now + seconds, seconds)
    return name


def test_a_new_volume_is_due_at_once_and_again_after_the_interval() -> None:
    schedule = schedule_of("v")
    assert schedule.next(0) == ("v", 0)
    schedule.done("v", 0.1, 0.1)
    name, until = schedule.next(1)
    assert name is None
    assert until == 60.1
    assert schedule.next(61) == ("v", 61)


def test_a_dear_volume_is_measured_rarely() -> None:
    schedule = schedule_of("v")
    assert walk(schedule, 0, 100) == "v"
    assert schedule.next(100 + 1899)[0] is None
    assert schedule.next(100 + 1901)[0] == "v"


def test_a_new_volume_does_not_wait_for_the_rest_after_a_long_walk() -> None:
    schedule = schedule_of("big")
    walk(schedule, 0, 100)
    schedule.add("new", "8:1", is_idle=False)
    assert schedule.next(101)[0] == "new"


def test_a_volume_that_nobody_can_write_to_waits_for_the_greatest_age() -> None:
    schedule = schedule_of("v", is_idle=True)
    walk(schedule, 0, 0.1)
    assert schedule.next(3599)[0] is None
    schedule.add("v", "8:1", is_idle=False)
    assert schedule.next(3599.5)[0] == "v"


def test_one_that_nobody_can_write_to_does_not_wait_for_younger_ones_beyond_the_greatest_age() -> None:
    schedule = schedule_of("a", "b", "writing", "c")
    schedule.add("idle", "8:1", is_idle=True)
    ages: dict[str, float] = {}
    measured_at: dict[str, float] = {}
    now = 0.0
    while now < 20_000:  # a sweep of five walks, 30 s each, takes 3000 s at 5 %
        schedule.written(["writing"])
        if (name := walk(schedule, now, 30)) is not None:
            now += 30
            ages[name] = max(ages.get(name, 0), now - measured_at.get(name, 0))
            measured_at[name] = now
        now += 10
    assert ages["idle"] < 3600 + 2 * 600


def test_a_volume_to_which_something_happened_is_due_at_once() -> None:
    schedule = schedule_of("v")
    walk(schedule, 0, 1)
    schedule.hurry("v")
    assert schedule.next(1)[0] == "v"


def test_what_happens_during_a_walk_lets_it_be_walked_again() -> None:
    schedule = schedule_of("v")
    assert schedule.next(0)[0] == "v"
    schedule.hurry("v")
    assert schedule.next(0.5, {"8:1"})[0] is None
    schedule.done("v", 1, 1)
    assert schedule.next(1)[0] == "v"


def test_even_what_is_urgent_keeps_to_the_share_in_the_long_run() -> None:
    schedule, now, walked = schedule_of("v"), 0.0, 0.0
    while now < 100_000:
        schedule.hurry("v")
        name, until = schedule.next(now)
        if name is None:
            now = max(until, now + 1)
            continue
        now += 3
        walked += 3
        schedule.done(name, now, 3)
    assert walked / now <= 0.05 + URGENT_REST_SECONDS / 100_000


def test_one_volume_of_a_file_system_is_walked_at_a_time() -> None:
    schedule = schedule_of("a", "b")
    schedule.add("c", "8:2", is_idle=False)
    assert schedule.next(0)[0] == "a"
    assert schedule.next(0, {"8:1"})[0] == "c"
    assert schedule.next(0, {"8:1", "8:2"})[0] is None


def test_of_those_that_are_due_come_the_old_then_the_written_then_the_others() -> None:
    schedule = schedule_of("first", "second", "third", max_age_seconds=200)
    for now in (0, 1, 2):
        walk(schedule, now, 0.001)
    schedule.written(["third"])
    assert walk(schedule, 100, 0.001) == "third"
    assert walk(schedule, 250, 0.001) == "first"  # older than 200 s
    schedule.written(["third"])
    assert walk(schedule, 250.1, 0.001) == "second"
    assert walk(schedule, 250.2, 0.001) == "third"


def test_a_removed_volume_is_due_no_more() -> None:
    schedule = schedule_of("v")
    walk(schedule, 0, 0.1)
    schedule.remove("v")
    assert schedule.next(1000)[0] is None
    assert "v" not in schedule


def test_a_volume_removed_while_it_is_walked_is_forgotten() -> None:
    schedule = schedule_of("v")
    schedule.next(0)
    schedule.remove("v")
    schedule.done("v", 1, 1)
    assert schedule.next(10_000)[0] is None


def test_times_that_hold_no_more_do_not_pile_up() -> None:
    schedule = schedule_of("flips")
    walk(schedule, 0, 0.1)
    for number in range(1000):
        schedule.add("flips", "8:1", is_idle=number % 2 == 0)
        schedule.add("gone", "8:1", is_idle=False)
        walk(schedule, 0.1, 0)
        schedule.remove("gone")
    assert len(schedule._later) <= 2 + 64
    assert schedule.next(60.2)[0] == "flips"


def test_times_of_volumes_that_all_went_at_once_are_forgotten() -> None:
    names = [str(number) for number in range(1000)]
    schedule = schedule_of(*names)
    for _ in names:
        walk(schedule, 0, 0)
    for name in names[1:]:
        schedule.remove(name)
    assert len(schedule._later) <= 2 + 64
    assert schedule.next(60)[0] == "0"


def test_what_changes_no_time_adds_none_and_leaves_what_is_due_in_its_turn() -> None:
    schedule = schedule_of("dear")
    walk(schedule, 0, 1000)  # for which it rests longer than the greatest age
    for number in range(10):
        schedule.add("dear", "8:1", is_idle=number % 2 == 0)
    assert len(schedule._later) == 1
    assert schedule.next(20_001, {"8:1"})[0] is None
    schedule.add("dear", "8:1", is_idle=True)
    assert schedule.next(20_001)[0] == "dear"


@given(st.lists(st.floats(0.001, 30), min_size=1, max_size=20), st.integers(1, 5))
def test_walking_again_keeps_to_its_share_of_time(durations: list[float], volumes: int) -> None:
    schedule = schedule_of(*map(str, range(volumes)))
    for _ in range(volumes):
        walk(schedule, 0, 0)
    now = walked = 0.0
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
    assert walked / until <= 0.051


@given(st.lists(st.tuples(st.sampled_from("ahrwn"), st.integers(0, 5), st.floats(0, 500)), max_size=60))
def test_no_volume_is_ever_lost_or_walked_twice_at_a_time(steps: list[tuple[str, int, float]]) -> None:
    schedule, now, running = schedule_of(), 0.0, ""
    for action, number, seconds in steps:
        now += seconds
        name = str(number)
        if action == "n" and running:
            schedule.done(running, now, seconds)
            running = ""
        elif action == "n":
            running = schedule.next(now)[0] or ""
        elif name != running:
            change(schedule, action, name)
    if running:
        schedule.done(running, now, 0)
    walked: set[str] = set()
    for _ in range(1000):
        due, until = schedule.next(now)
        if due is None:
            now = max(until, now + 1)
            continue
        walked.add(due)
        schedule.done(due, now, 0)
    assert walked == schedule.names()


def change(schedule: Schedule, action: str, name: str) -> None:
    match action:
        case "a":
            schedule.add(name, "8:1", is_idle=name in "024")
        case "h":
            schedule.hurry(name)
        case "r":
            schedule.remove(name)
        case "w":
            schedule.written([name])
