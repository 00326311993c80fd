import io
import json
import logging

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
