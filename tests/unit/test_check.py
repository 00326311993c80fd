import io
from pathlib import Path

import pytest

from exporter.check import Finding, check, format_table, host_network, quotas, round_trip_times, walks
from exporter.inventory.model import Network
from exporter.settings import load
from tests.harness.fake_engine import FakeEngine

APP = Network("a" * 64, "app", "bridge")
NET_DEV = b"h\nh\n br-aaaaaaaaaaaa: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"


def test_advice_stands_below_what_it_is_about() -> None:
    table = format_table(
        [Finding("Engine", "here", fine=True), Finding("Volumes", "0 of 1", fine=False, advice="be root")]
    )
    assert table == "ok    Engine   here\nlack  Volumes  0 of 1\n               -> be root\n"


def test_the_host_s_network_namespace_is_told_by_the_bridges() -> None:
    assert host_network([APP], NET_DEV).fine
    lack = host_network([APP], b"h\nh\n")
    assert lack.fine is False
    assert "--network=host" in lack.advice


def test_without_gnu_find_walks_are_dearer_and_it_is_told_what_to_install() -> None:
    assert walks("/usr/bin/find").fine
    assert "findutils" in walks(None).advice


def test_what_the_right_to_enter_namespaces_buys_is_told() -> None:
    both = frozenset({"CAP_SYS_ADMIN", "CAP_SYS_PTRACE"})
    assert round_trip_times(both, wanted=True).fine
    assert "--collector.rtt" in round_trip_times(both, wanted=False).found
    assert "CAP_SYS_PTRACE" in round_trip_times(frozenset({"CAP_SYS_ADMIN"}), wanted=True).advice
    assert round_trip_times(frozenset(), wanted=True).fine is False
    unwanted = round_trip_times(frozenset(), wanted=False)
    assert unwanted.fine is None
    assert "CAP_SYS_ADMIN" in unwanted.advice
    assert quotas(both).fine
    assert "walked" in quotas(frozenset()).found


async def test_an_engine_that_is_away_is_the_first_and_only_finding() -> None:
    output = io.StringIO()
    assert await check(load(["--engine.host=unix:///nowhere.sock"], {}), output) == 1
    assert output.getvalue().startswith("lack  Docker engine  unix:///nowhere.sock: ")
    assert "--engine.host" in output.getvalue()


async def test_all_that_can_be_seen_is_told(fake_engine: FakeEngine, tmp_path: Path) -> None:
    fake_engine.add_container("web", pid=2**22)
    fake_engine.add_volume("seen", Mountpoint=str(tmp_path))
    fake_engine.add_volume("unseen")
    output = io.StringIO()
    assert await check(load([f"--engine.host={fake_engine.host}"], {}), output) == 0
    table = output.getvalue()
    assert "version fake, API 1.41" in table
    assert "1 of 2 local volumes are readable" in table
    assert "CAP_DAC_READ_SEARCH" in table
    assert "not seen in /proc" in table
    assert "Round-trip times" in table


async def test_of_an_engine_elsewhere_nothing_here_is_looked_at(
    fake_engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.check.is_engine_here", lambda *_: False)
    output = io.StringIO()
    assert await check(load([f"--engine.host={fake_engine.host}"], {}), output) == 0
    assert "beside the engine" in output.getvalue()
    assert "readable" not in output.getvalue()
