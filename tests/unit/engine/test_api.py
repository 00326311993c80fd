import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.engine.api import (
    Engine,
    EngineError,
    EngineOptions,
    EngineUnavailableError,
    NotFoundError,
    negotiate,
)
from exporter.engine.parse import UNREADABLE
from tests.harness.fake_engine import FakeEngine
from tests.harness.wait import eventually_async

DEEP = b"[" * 100_000
"""JSON that no decoder follows to its end."""


@pytest.fixture
async def engine(fake_engine: FakeEngine) -> AsyncIterator[Engine]:
    engine = Engine(EngineOptions(host=fake_engine.host, call_seconds=0.5, ping_seconds=0.3))
    await engine.connect()
    yield engine
    await engine.close()


@pytest.mark.parametrize(
    ("newest", "oldest", "chosen"),
    [
        ("1.41", "1.12", "1.41"),
        ("1.55", "1.40", "1.51"),
        ("1.51", "1.24", "1.51"),
        ("1.60", "1.55", "1.55"),
        ("1.41", "", "1.41"),
    ],
)
def test_the_newest_version_that_both_know_is_spoken(newest: str, oldest: str, chosen: str) -> None:
    assert negotiate(newest, oldest) == chosen


def test_a_version_that_is_no_version_is_refused() -> None:
    with pytest.raises(EngineError, match="can't be read"):
        negotiate("next", "")


async def test_an_engine_is_connected_to_and_known_to_be_up(fake_engine: FakeEngine, engine: Engine) -> None:
    assert engine.up
    info, now = await engine.connect()
    assert info.version == "fake"
    assert now > 1_700_000_000


async def test_calls_carry_the_negotiated_version(fake_engine: FakeEngine) -> None:
    fake_engine.upgrade("1.99")
    engine = Engine(EngineOptions(host=fake_engine.host))
    info, _ = await engine.connect()
    assert info.api_version == "1.51"
    await engine.close()


async def test_an_object_that_is_gone_is_not_found_and_the_engine_is_up(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        await engine.container("gone")
    with pytest.raises(NotFoundError):
        await engine.volume("a/../b?c#d")
    assert engine.up


async def test_an_engine_that_is_away_is_unavailable_with_its_address(socket_path: Path) -> None:
    engine = Engine(EngineOptions(host=f"unix://{socket_path}"))
    with pytest.raises(EngineUnavailableError, match="Cannot connect"):
        await engine.connect()
    assert not engine.up
    await engine.close()


async def test_a_frozen_engine_is_given_up_after_the_time_out(fake_engine: FakeEngine, engine: Engine) -> None:
    fake_engine.stalled["_ping"] = asyncio.Event()
    with pytest.raises(EngineUnavailableError, match="no answer in time"):
        await engine.ping()
    assert not engine.up
    fake_engine.stalled["_ping"].set()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, '{"message": "driver failed"}', "500: driver failed"),
        (500, "{}", "can't be read"),
        (200, "{half", "can't be read"),
        (200, "[]", "can't be read"),
        (200, '{"Volumes": [{"Driver": "local"}]}', "can't be read"),
        (200, "null", "can't be read"),
        (200, DEEP.decode(), "can't be read"),
        (500, "[]", "can't be read"),
        (500, "{", "can't be read"),
    ],
)
async def test_nonsense_is_one_line_and_no_crash(
    fake_engine: FakeEngine, engine: Engine, status: int, body: str, message: str
) -> None:
    fake_engine.failing["volumes"] = (status, body)
    with pytest.raises(EngineError, match=message) as error:
        await engine.list_volumes()
    assert "\n" not in str(error.value)


async def test_an_error_page_in_the_guise_of_json_is_of_a_proxy_whose_engine_is_away(
    fake_engine: FakeEngine, engine: Engine
) -> None:
    await engine.ping()
    assert engine.up
    fake_engine.failing["networks"] = (503, "<html>no server is available</html>")
    with pytest.raises(EngineError, match="can't be read"):
        await engine.list_networks()
    assert not engine.up


async def test_a_plugin_that_fails_does_not_make_the_engine_seem_away(
    fake_engine: FakeEngine, engine: Engine
) -> None:
    fake_engine.failing["system/df"] = (500, '{"message": "a disk usage operation is already running"}')
    with pytest.raises(EngineError, match="already running"):
        await engine.volume_usage()
    assert engine.up
    fake_engine.failing["_ping"] = (500, '{"message": "not well"}')
    with pytest.raises(EngineError, match="not well"):
        await engine.ping()
    assert not engine.up


async def test_an_answer_that_is_too_long_is_refused_before_it_is_held(
    fake_engine: FakeEngine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.engine.api._LONGEST_LIST_BYTES", 2**20)
    monkeypatch.setattr("exporter.engine.api._LONGEST_ANSWER_BYTES", 2**19)
    for path in ("networks", "networks/n"):
        fake_engine.failing[path] = (200, '"' + "x" * 3 * 2**20 + '"')
    with pytest.raises(EngineError, match="more than 1 MiB"):
        await engine.list_networks()
    with pytest.raises(EngineError, match="more than 0 MiB"):
        await engine.network("n")


async def test_an_error_s_reason_is_one_line_of_bounded_length(fake_engine: FakeEngine, engine: Engine) -> None:
    fake_engine.failing["networks"] = (500, json.dumps({"message": "no\n" * 10_000}))
    with pytest.raises(EngineError) as error:
        await engine.list_networks()
    assert len(str(error.value)) < 320
    assert "\n" not in str(error.value)


async def test_an_error_in_the_guise_of_a_sample_is_no_sample(fake_engine: FakeEngine, engine: Engine) -> None:
    fake_engine.failing["containers/c/stats"] = (200, '{"message": "link not found"}')
    with pytest.raises(EngineError, match="link not found"):
        await engine.stats("c")
    fake_engine.failing["containers/c/stats"] = (200, '{"read": "0001-01-01T00:00:00Z"}')
    with pytest.raises(EngineError, match="no sample"):
        await engine.stats("c")


async def test_events_are_replayed_and_followed(fake_engine: FakeEngine, engine: Engine) -> None:
    fake_engine.emit("container", "start", "c1")
    async with asyncio.timeout(5), engine.events(0.0) as events:
        assert (await anext(events)).actor == "c1"
        fake_engine.emit("volume", "create", "v")
        assert (await anext(events)).actor == "v"
        fake_engine.cut_streams()
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_an_event_of_a_megabyte_is_read(fake_engine: FakeEngine, engine: Engine) -> None:
    async with asyncio.timeout(5), engine.events(0.0) as events:
        fake_engine.emit("container", "start", "c", label="x" * 1_000_000)
        assert len((await anext(events)).attributes["label"]) == 1_000_000


@pytest.mark.parametrize(
    "line",
    [b"{half", b"[]", b'{"Type":"a","Action":"b","time":[1]}', b'{"Type":"a","Action":"b","time":1e999}', DEEP],
)
async def test_a_line_that_is_no_event_is_told_as_such_and_the_stream_goes_on(
    fake_engine: FakeEngine, engine: Engine, line: bytes
) -> None:
    async with asyncio.timeout(5), engine.events(0.0) as events:
        fake_engine.streams[0].put_nowait(line + b"\n")
        fake_engine.emit("container", "start", "c1")
        assert (await anext(events)).kind == UNREADABLE
        assert (await anext(events)).actor == "c1"


async def test_the_kernel_looks_after_an_idle_stream_over_a_network_for_less_than_30_s(
    fake_engine: FakeEngine,
) -> None:
    """Pings go over other connections: they tell nothing of one that a router forgot."""
    port = await fake_engine.listen()
    engine = Engine(EngineOptions(host=f"tcp://127.0.0.1:{port}"))
    await engine.connect()
    async with engine.events(0.0):
        assert engine._stream is not None
        [protocol] = engine._stream.connector._acquired
        assert protocol.transport is not None
        stream = protocol.transport.get_extra_info("socket")
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, pause, tries = (
            stream.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + pause * tries < 30
    await engine.close()


async def test_only_volumes_are_asked_for_in_disk_usage(fake_engine: FakeEngine, engine: Engine) -> None:
    fake_engine.add_volume("data")
    assert await engine.volume_usage() == {"data": 7}
    assert fake_engine.requests[-1] == "system/df?type=volume"


async def test_durations_of_calls_are_told(fake_engine: FakeEngine) -> None:
    seen: list[str] = []
    engine = Engine(EngineOptions(host=fake_engine.host), lambda endpoint, _seconds: seen.append(endpoint))
    await engine.connect()
    await engine.list_containers()
    await engine.close()
    assert seen == ["version", "info", "containers"]


async def test_an_unusable_address_is_told_in_one_line() -> None:
    engine = Engine(EngineOptions(host="carrier-pigeon"))
    with pytest.raises(EngineUnavailableError, match="Missing protocol scheme"):
        await engine.connect()


async def test_an_engine_that_leaves_a_ping_unanswered_counts_as_down_before_it_is_given_up(
    fake_engine: FakeEngine,
) -> None:
    engine = Engine(EngineOptions(host=fake_engine.host, patience_seconds=0.1, ping_seconds=5))
    await engine.connect()
    fake_engine.stalled["_ping"] = asyncio.Event()
    asked = asyncio.get_running_loop().create_task(engine.ping())
    await asyncio.sleep(0.05)
    assert engine.up
    await eventually_async(lambda: not engine.up, "down", 1)
    fake_engine.stalled["_ping"].set()
    await asked
    assert not engine.up
    await engine.ping()  # only an answer in time ends that
    assert engine.up
    await engine.close()


async def test_one_call_that_takes_too_long_says_nothing_of_the_engine(fake_engine: FakeEngine) -> None:
    engine = Engine(EngineOptions(host=fake_engine.host, list_volumes_seconds=0.1))
    await engine.connect()
    fake_engine.stalled["volumes"] = asyncio.Event()
    with pytest.raises(EngineUnavailableError):
        await engine.list_volumes()
    assert engine.up
    fake_engine.stalled["volumes"].set()
    await engine.close()


@pytest.mark.parametrize("path", ["version", "info"])
@pytest.mark.parametrize("body", ["[]", "null", "7", '"text"', '{"ApiVersion": "1.41", "SecurityOptions": 5}'])
async def test_an_engine_that_says_nonsense_of_itself_is_told_in_one_line(
    fake_engine: FakeEngine, path: str, body: str
) -> None:
    fake_engine.failing[path] = (200, body)
    engine = Engine(EngineOptions(host=fake_engine.host))
    if path == "version" and "ApiVersion" in body:
        await engine.connect()
    else:
        with pytest.raises(EngineError, match="can't be read"):
            await engine.connect()
    await engine.close()


@pytest.mark.parametrize("version", ["1.41.2", "-1.5", "1_0.4", "1.\u0665", "1.99999", ".."])
def test_a_version_that_would_make_another_path_is_refused(version: str) -> None:
    with pytest.raises(EngineError, match="can't be read"):
        negotiate(version, "")


@pytest.mark.parametrize("body", ["{}", "[]", "null"])
async def test_a_refusal_of_events_of_another_form_is_told_in_one_line(
    fake_engine: FakeEngine, engine: Engine, body: str
) -> None:
    fake_engine.failing["events"] = (500, body)
    with pytest.raises(EngineError, match="can't be read"):
        async with engine.events(0.0):
            pass


@pytest.mark.parametrize("name", ["", ".", "..", "../../info", "a/../../../../info", "\ud800", "x\0y", "%2e%2e"])
async def test_no_name_leads_to_another_path_than_its_own(
    fake_engine: FakeEngine, engine: Engine, name: str
) -> None:
    fake_engine.requests.clear()
    for ask in (engine.container, engine.network, engine.volume, engine.volume_status):
        with pytest.raises(NotFoundError):
            await ask(name)
    with contextlib.suppress(NotFoundError):  # the fake engine has a sample of anything
        await engine.stats(name)
    kinds = ("containers/", "networks/", "volumes/")
    assert all(path.startswith(kinds) and path.count("/") <= 2 for path in fake_engine.requests)


@pytest.mark.parametrize("number", ["1e999", "-1", "1" + "0" * 400, "NaN", '"7"', "0.5"])
async def test_a_number_that_no_scraper_could_read_is_refused(
    fake_engine: FakeEngine, engine: Engine, number: str
) -> None:
    answer = (
        f'{{"Id": "c", "Name": "/web", "State": {{"Running": true, "Pid": {number}}}, "RestartCount": {number}}}'
    )
    fake_engine.failing["containers/c/json"] = (200, answer)
    with pytest.raises(EngineError, match="can't be read"):
        await engine.container("c")
