import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.engine.parse import (
    EngineAnswerError,
    parse_container,
    parse_engine_info,
    parse_event,
    parse_listed_container,
    parse_network,
    parse_time,
    parse_volume,
    parse_volume_status,
)

FIXTURES = Path(__file__).parent / "fixtures"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture(scope="module")
def engine() -> Any:
    """Answers of a real engine 20.10."""
    return json.loads((FIXTURES / "engine_20_10.json").read_text())


def test_a_running_container_of_a_real_engine_is_read_whole(engine: Any) -> None:
    container = parse_container(engine["container"])
    assert (container.name, container.state, container.image) == ("web", "running", "bb")
    assert container.pid > 0
    assert container.started_at > 1_700_000_000
    assert container.health == "healthy"
    assert container.labels["com.docker.compose.project"] == "shop"
    by_network = {endpoint.network_name: endpoint for endpoint in container.endpoints}
    assert by_network["n6"].ipv6 == "fd00:1::2"
    assert (by_network["n6"].ipv4, by_network["n6"].ipv4_prefix_length) == ("172.30.0.129", 24)
    assert by_network["n1"].mac_address.startswith("02:42:")
    [mount] = container.mounts
    assert (mount.volume, mount.destination, mount.read_only) == ("data", "/var/lib/data", True)


def test_the_list_shows_the_same_as_the_inspection(engine: Any) -> None:
    listed = {entry["Names"][0]: parse_listed_container(entry) for entry in engine["containers"]}
    inspected = parse_container(engine["container"])
    web = listed["/web"]
    assert (web.id, web.name, web.state, web.health) == (
        inspected.id,
        inspected.name,
        inspected.state,
        inspected.health,
    )
    assert {e.endpoint_id for e in web.endpoints} == {e.endpoint_id for e in inspected.endpoints}


@pytest.mark.parametrize("state", ["exited", "paused", "restarting", "dead", "created"])
def test_what_does_not_run_has_no_health_although_the_engine_calls_it_unhealthy(engine: Any, state: str) -> None:
    """moby, container/health.go: "unhealthy when the monitor has stopped for compatibility reasons"."""
    known = engine["container"]["State"]
    stopped = {**known, "Status": state, "Health": {**known["Health"], "Status": "unhealthy"}}
    assert parse_container({**engine["container"], "State": stopped}).health == ""


def test_a_created_container_has_no_endpoints_and_no_process(engine: Any) -> None:
    idle = next(parse_listed_container(c) for c in engine["containers"] if c["Names"] == ["/idle"])
    assert idle.endpoints == ()
    assert not idle.is_running


def test_a_joined_container_names_the_owner_of_its_namespace(engine: Any) -> None:
    side = next(parse_listed_container(c) for c in engine["containers"] if c["Names"] == ["/side"])
    assert side.joined_container == parse_container(engine["container"]).id


def test_a_network_is_read_with_its_address_pools(engine: Any) -> None:
    network = parse_network(engine["network"])
    assert (network.name, network.driver, network.ipv6) == ("n6", "bridge", True)
    v4 = next(pool for pool in network.subnets if "." in pool.subnet)
    assert (v4.subnet, v4.ip_range, v4.auxiliary_addresses) == (
        "172.30.0.0/24",
        "172.30.0.128/25",
        ("172.30.0.9",),
    )


def test_the_list_of_networks_shows_the_same_as_the_inspection(engine: Any) -> None:
    listed = next(parse_network(entry) for entry in engine["networks"] if entry["Name"] == "n6")
    assert listed == parse_network(engine["network"])


def test_a_volume_is_read(engine: Any) -> None:
    volume = next(parse_volume(v) for v in engine["volumes"]["Volumes"] if v["Name"] == "data")
    assert (volume.driver, volume.mountpoint) == ("local", "/var/lib/docker/volumes/data/_data")
    assert volume.created_at > 1_700_000_000


def test_a_cluster_volume_is_told_from_others() -> None:
    """Swarm's CSI volumes are in the list of volumes from API 1.42 on (moby: volume_routes.go)."""
    csi = {
        "Name": "shared",
        "Driver": "csi-plugin",
        "Mountpoint": "",
        "Scope": "global",
        "ClusterVolume": {"ID": "x"},
    }
    assert parse_volume(csi).is_cluster
    assert not parse_volume({"Name": "data", "Driver": "local", "Mountpoint": "/v"}).is_cluster


def test_of_a_plugins_status_only_numbers_are_read() -> None:
    status = {
        "Size": 100,
        "Used": "42.5",
        "Ready": True,
        "Token": "s3cret",
        "Nan": "nan",
        "Map": {"a": 1},
        "No": None,
    }
    assert parse_volume_status({"Name": "v", "Status": status}) == {"Size": 100.0, "Used": 42.5, "Ready": 1.0}
    assert parse_volume_status({"Name": "v", "Status": {str(n): n for n in range(100)}}).keys() == {
        str(n) for n in range(32)
    }
    assert parse_volume_status({"Name": "v", "Status": {"Huge": 10**400, "Big": 1e300}}) == {"Big": 1e300}


@pytest.mark.parametrize("status", [None, [], "up", 1])
def test_a_plugin_that_tells_no_status_tells_no_numbers(status: object) -> None:
    assert parse_volume_status({"Name": "v", "Status": status}) == {}
    assert parse_volume_status({"Name": "v"}) == {}


def test_the_engine_is_read(engine: Any) -> None:
    info = parse_engine_info(engine["version"], engine["info"], "1.41")
    assert info.version.startswith("20.10")
    assert (info.storage_driver, info.cgroup_version, info.rootless) == ("overlay2", "1", False)


def test_rootless_and_user_namespaces_are_told_by_the_security_options() -> None:
    info = parse_engine_info({}, {"SecurityOptions": ["name=rootless", "name=userns"]}, "1.44")
    assert info.rootless
    assert info.user_namespaces


def test_every_event_of_a_real_engine_is_read() -> None:
    lines = (FIXTURES / "events_20_10.jsonl").read_text().splitlines()
    events = [parse_event(json.loads(line)) for line in lines]
    assert {event.kind for event in events} <= {"container", "network", "volume", "image"}
    assert all(event.time_nano > 1_700_000_000_000_000_000 for event in events)
    connect = next(event for event in events if event.action == "connect")
    assert len(connect.attributes["container"]) == 64


def test_events_without_the_old_names_are_read_as_api_1_52_sends_them() -> None:
    event = parse_event(
        {
            "Type": "container",
            "Action": "start",
            "Actor": {"ID": "c", "Attributes": {"name": "web"}},
            "timeNano": 5,
        }
    )
    assert (event.actor, event.time_nano, event.scope) == ("c", 5, "local")


def test_an_event_of_a_volume_on_podman_has_its_name_only_among_the_attributes() -> None:
    event = parse_event(
        {"Type": "volume", "Action": "create", "Actor": {"ID": "", "Attributes": {"name": "v"}}, "time": 3}
    )
    assert (event.actor, event.time_nano) == ("v", 3_000_000_000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-01-02T03:04:05Z", 1704164645.0),
        ("2024-01-02T03:04:05.123456789Z", 1704164645.123456),
        ("2024-01-02T04:04:05.5+01:00", 1704164645.5),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
        (None, 0.0),
        ("yesterday", 0.0),
    ],
)
def test_times_are_read_as_go_writes_them(text: Any, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("parse", [parse_container, parse_listed_container, parse_network, parse_volume])
@given(json_value=JSON)
def test_an_answer_of_another_form_is_refused_and_nothing_else_happens(parse: Any, json_value: Any) -> None:
    with pytest.raises((EngineAnswerError, TypeError, ValueError, AttributeError)):
        parse(json_value)


@given(JSON)
def test_an_event_of_another_form_is_refused(json_value: Any) -> None:
    with pytest.raises(EngineAnswerError):
        parse_event(json_value)


def test_what_can_t_be_read_is_told_without_its_values() -> None:
    volume = {"Driver": "local", "Options": {"o": "username=u,password=hunter2"}}
    with pytest.raises(EngineAnswerError) as error:
        parse_volume(volume)
    assert str(error.value).endswith("without Name; it has Driver, Options")
    with pytest.raises(EngineAnswerError) as error:
        parse_container(["--password=hunter2"])
    assert "hunter2" not in str(error.value)
