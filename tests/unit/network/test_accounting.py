from hypothesis import given
from hypothesis import strategies as st

from exporter.network.accounting import Accounting, Reading
from exporter.network.counters import InterfaceCounters

WEB = ("web", 1, 1.0)
DB = ("db", 2, 1.0)


def reading(
    received: int, *, network: str = "n", key: tuple[str, int, float] = WEB, born: bool = False, name: str = "eth0"
) -> Reading:
    counters = InterfaceCounters(receive_bytes=received, receive_packets=received // 100)
    return Reading(key, {name: counters}, {name: network} if network else {}, born_watched=born)


def received(accounting: Accounting, network: str = "n") -> int:
    return accounting.totals[network][0] if network in accounting.totals else 0


def test_a_container_that_was_there_before_contributes_from_then_on() -> None:
    accounting = Accounting()
    accounting.take(reading(1000))
    assert received(accounting) == 0
    accounting.take(reading(1500))
    assert received(accounting) == 500


def test_a_container_that_started_later_contributes_from_its_first_byte() -> None:
    accounting = Accounting()
    accounting.take(reading(700, born=True))
    assert received(accounting) == 700


def test_a_leaving_container_takes_nothing_away() -> None:
    accounting = Accounting()
    accounting.take(reading(700, born=True))
    accounting.keep_only([])
    assert received(accounting) == 700


def test_a_counter_that_went_back_contributes_its_new_value() -> None:
    accounting = Accounting()
    accounting.take(reading(700, born=True))
    accounting.take(reading(50))
    assert received(accounting) == 750


def test_a_network_joined_at_run_time_contributes_from_the_interface_s_first_byte() -> None:
    accounting = Accounting()
    accounting.take(reading(1000))
    both = {"eth0": InterfaceCounters(1000, 10), "eth1": InterfaceCounters(300)}
    accounting.take(Reading(WEB, both, {"eth0": "n", "eth1": "m"}))
    assert received(accounting, "m") == 300
    assert received(accounting) == 0


def test_an_interface_that_left_and_came_back_under_its_name_contributes_again_from_zero() -> None:
    accounting = Accounting()
    accounting.take(reading(1000, born=True))
    accounting.take(Reading(WEB, {}, {}))
    accounting.take(reading(1200))
    assert received(accounting) == 2200


def test_what_is_counted_before_the_network_is_known_is_credited_later() -> None:
    accounting = Accounting()
    accounting.take(reading(400, network="", born=True))
    assert accounting.unattributed == 1
    assert accounting.totals == {}
    accounting.take(reading(600))
    assert received(accounting) == 600
    assert accounting.unattributed == 0


def test_a_restart_of_a_container_is_another_namespace() -> None:
    accounting = Accounting()
    accounting.take(reading(1000))
    accounting.take(reading(80, key=("web", 9, 2.0), born=True))
    accounting.keep_only([("web", 9, 2.0)])
    assert received(accounting) == 80


def test_the_total_of_a_removed_network_is_forgotten() -> None:
    accounting = Accounting()
    accounting.take(reading(700, born=True))
    accounting.forget_network("n")
    assert accounting.totals == {}


@given(st.lists(st.tuples(st.sampled_from([WEB, DB]), st.integers(0, 10**12), st.booleans(), st.booleans())))
def test_totals_never_fall_whatever_comes(steps: list[tuple[tuple[str, int, float], int, bool, bool]]) -> None:
    accounting = Accounting()
    before = 0
    for key, count, known, leaves in steps:
        accounting.take(reading(count, key=key, network="n" if known else "", born=True))
        if leaves:
            accounting.keep_only([key])
        assert received(accounting) >= before
        before = received(accounting)


def test_an_interface_that_one_reading_misses_is_not_counted_twice_and_another_in_its_place_whole() -> None:
    accounting = Accounting()

    def take(received: int | None, index: int = 7) -> int:
        interfaces = {"eth0": InterfaceCounters(received)} if received is not None else {}
        accounting.take(Reading(("c", 1, 0.0), interfaces, dict.fromkeys(interfaces, "n"), True, {"eth0": index}))  # noqa: FBT003 - born_watched
        return accounting.totals["n"][0]

    assert take(100) == 100
    assert take(None) == 100
    assert take(150) == 150
    assert take(None) == 150
    assert take(160, index=8) == 310
    assert take(170, index=8) == 320


def test_a_namespace_that_is_not_known_for_a_moment_is_not_counted_twice() -> None:
    accounting = Accounting()
    accounting.take(reading(1000, born=True))
    accounting.keep_only([])
    accounting.take(reading(1200, born=True))
    assert received(accounting) == 1200
    for _ in range(20):
        accounting.keep_only([])
    assert not accounting._gone


def test_interfaces_that_a_container_makes_for_itself_without_end_are_not_remembered() -> None:
    gone: list[int] = []
    accounting = Accounting()
    accounting.on_gone = lambda account: gone.append(account.index)
    for number in range(1, 1000):
        interfaces = {"eth0": InterfaceCounters(number), f"veth{number}": InterfaceCounters(5)}
        indexes = {"eth0": 1, f"veth{number}": 10 + number}
        accounting.take(Reading(WEB, interfaces, {"eth0": "n"}, indexes=indexes))
    assert len(accounting._missed[WEB]) < 5
    assert gone == list(range(11, 11 + len(gone)))
    assert len(gone) > 990
    accounting.take(Reading(WEB, {"eth0": InterfaceCounters(2000)}, {"eth0": "n"}, indexes={"eth0": 1}))
    assert received(accounting) == 1999
