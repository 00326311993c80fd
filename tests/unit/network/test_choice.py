from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, EngineInfo
from exporter.network.choice import choose_source, is_engine_here


def inventory(*, running: bool = False, kernel: str = "6.1") -> Inventory:
    inventory = Inventory()
    inventory.put_engine(
        EngineInfo("28", "1.51", "Debian", kernel, "overlay2", "2", "/var/lib/docker", rootless=False)
    )
    if running:
        inventory.put_container(Container("c", "web", "x", "running", pid=5))
    return inventory


def test_procfs_is_chosen_where_the_processes_are_seen() -> None:
    assert choose_source("auto", inventory(running=True), lambda _: True).source == "procfs"


def test_the_engine_is_asked_where_the_processes_are_not_seen() -> None:
    choice = choose_source("auto", inventory(running=True), lambda _: False)
    assert choice.source == "engine"
    assert "not seen in /proc" in choice.reason


def test_the_only_container_that_just_ended_makes_no_other_choice() -> None:
    seen = choose_source("auto", inventory(running=True), lambda _: True)
    later = choose_source("auto", inventory(running=True), lambda _: False, before=seen)
    assert later.source == "procfs"
    assert choose_source("auto", inventory(), lambda _: False, before=later).source == "procfs"
    assert choose_source("auto", inventory(running=True), lambda _: False, before=later).source == "procfs"


def test_without_containers_the_kernel_tells_whether_the_engine_is_remote() -> None:
    assert choose_source("auto", inventory(), lambda _: False, "6.1").source == "procfs"
    assert choose_source("auto", inventory(), lambda _: False, "5.4").source == "engine"


def test_a_wish_is_followed() -> None:
    assert choose_source("procfs", inventory(running=True), lambda _: False).source == "procfs"
    assert choose_source("engine", inventory(running=True), lambda _: True).source == "engine"


def test_an_engine_at_an_address_is_here_only_if_its_containers_are_seen() -> None:
    assert is_engine_here("unix:///var/run/docker.sock", inventory(), lambda _: False)
    assert is_engine_here("tcp://proxy:2375", inventory(running=True), lambda _: True)
    assert not is_engine_here("tcp://docker1:2376", inventory(running=True), lambda _: False)
    assert not is_engine_here("tcp://docker1:2376", inventory(), lambda _: True)
