import io

import pytest

from exporter import logs
from exporter.metrics.page import Format, make_page
from exporter.metrics.runner import CollectorError, Runner


def page(runner: Runner) -> str:
    return make_page(runner.samples()).in_format(Format.TEXT).decode()


def test_a_failing_collector_becomes_a_metric_and_one_log_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    runner = Runner()
    for _ in range(3):
        with runner.watch("network"):
            raise CollectorError("no engine")
    assert 'netvol_exporter_collector_success{collector="network"} 0\n' in page(runner)
    assert "last_success" not in page(runner)
    assert stream.getvalue().count("collector failed") == 1
    assert 'reason="no engine"' in stream.getvalue()
    with runner.watch("network"):
        pass
    assert 'netvol_exporter_collector_success{collector="network"} 1\n' in page(runner)
    assert stream.getvalue().count("collector works again") == 1


def test_a_bug_in_a_collector_is_logged_with_its_place() -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    runner = Runner()
    with runner.watch("volume"):
        raise ZeroDivisionError
    assert "Traceback" in stream.getvalue()
    assert not runner.succeeded("volume")


def test_rendering_alone_is_no_success() -> None:
    runner = Runner()
    with runner.watch("network", failures_only=True):
        pass
    assert page(runner) == ""


def test_what_ends_the_process_is_not_caught() -> None:
    runner = Runner()
    with pytest.raises(KeyboardInterrupt), runner.watch("network"):
        raise KeyboardInterrupt
