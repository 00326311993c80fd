import io
import json
import logging
from typing import Literal

import pytest

from exporter import logs


def test_logfmt_lines_begin_with_time_level_and_event() -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    logs.get_logger().info("engine connected", host="unix:///x y")
    line = stream.getvalue()
    assert line.startswith("ts=")
    assert ' level=info event="engine connected" host="unix:///x y"\n' in line


def test_json_lines_are_json() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    logs.get_logger().warning("collector failed", collector="network")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["collector"]) == ("collector failed", "warning", "network")


def test_less_severe_lines_than_the_level_are_left_out() -> None:
    stream = io.StringIO()
    logs.configure("warn", "logfmt", stream)
    logs.get_logger().info("quiet")
    assert stream.getvalue() == ""


def test_what_a_library_logs_looks_the_same() -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    logging.getLogger("aiohttp").warning("lost %s", "it")
    assert 'level=warning event="lost it"' in stream.getvalue()


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", "a\x0bb", "a\x85b", "a\u2028b", "\x1b[2J", "\0", "\ud800", "\u202e"]
)
def test_no_name_makes_a_second_line_or_drives_a_terminal(form: Literal["logfmt", "json"], name: str) -> None:
    stream = io.StringIO()
    logs.configure("info", form, stream)
    logs.get_logger().warning("volume not measured", volume=f"x {name} level=error", reason=name)
    logging.getLogger("aiohttp").warning("of a library: %s", name)
    lines = stream.getvalue().split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_a_long_value_is_cut_and_its_length_is_told(form: Literal["logfmt", "json"]) -> None:
    stream = io.StringIO()
    logs.configure("info", form, stream)
    logs.get_logger().warning("capacity of volume not usable", value="x" * 10_000)
    assert "xxx... (10000 characters)" in stream.getvalue()
    assert len(stream.getvalue()) < 1300


def test_a_trace_of_an_error_is_one_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "logfmt", stream)
    try:
        int("two\nlines")
    except ValueError:
        logs.get_logger().warning("collector failed", exc_info=True)
    assert stream.getvalue().count("\n") == 1
    assert "Traceback" in stream.getvalue()
