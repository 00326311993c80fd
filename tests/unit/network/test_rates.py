from exporter.network.rates import Rates


def total(received: int, transmitted: int = 0) -> list[int]:
    return [received, 0, 0, 0, transmitted, 0, 0, 0]


def test_the_rate_is_that_of_the_last_poll() -> None:
    rates = Rates()
    rates.poll(0, {"n": total(0)})
    assert rates.rate("n") is None
    rates.poll(5, {"n": total(1000, 500)})
    assert rates.rate("n") == (200, 100)
    rates.poll(10, {"n": total(1000, 500)})
    assert rates.rate("n") == (0, 0)


def test_a_burst_stays_visible_for_a_minute() -> None:
    rates = Rates()
    rates.poll(0, {"n": total(0)})
    rates.poll(1, {"n": total(5_000_000)})
    for second in range(2, 61):
        rates.poll(second, {"n": total(5_000_000 + second)})
        assert rates.peak("n") == (5_000_000.0, 0.0)
    rates.poll(62, {"n": total(5_000_100)})
    peak = rates.peak("n")
    assert peak is not None
    assert peak[0] < 100


def test_a_removed_network_has_no_rate() -> None:
    rates = Rates()
    rates.poll(0, {"n": total(0)})
    rates.poll(1, {"n": total(1)})
    rates.poll(2, {})
    assert rates.rate("n") is None
    assert rates.peak("n") is None


def test_a_failed_poll_leaves_no_old_rate() -> None:
    rates = Rates()
    rates.poll(0, {"n": total(0)})
    rates.poll(1, {"n": total(10)})
    rates.forget()
    assert rates.rate("n") is None
    rates.poll(3, {"n": total(30)})
    assert rates.rate("n") == (10, 0)


def test_two_polls_at_the_same_instant_divide_by_nothing() -> None:
    rates = Rates()
    rates.poll(1, {"n": total(0)})
    rates.poll(1, {"n": total(10)})
    assert rates.rate("n") is None
