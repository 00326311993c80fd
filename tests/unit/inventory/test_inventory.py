import asyncio

from hypothesis import given
from hypothesis import strategies as st

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Network, Volume


def test_the_generation_rises_only_with_a_change() -> None:
    inventory = Inventory()
    inventory.put_volume(Volume("v", "local", "/v"))
    before = inventory.generation
    inventory.put_volume(Volume("v", "local", "/v"))
    assert inventory.generation == before
    inventory.remove_volume("v")
    inventory.remove_volume("v")
    assert inventory.generation == before + 1


def test_of_two_networks_with_one_name_the_younger_is_told_by_its_id() -> None:
    inventory = Inventory()
    inventory.put_network(Network("b" * 64, "app", "bridge", created_at=2.0))
    inventory.put_network(Network("a" * 64, "app", "bridge", created_at=1.0))
    assert inventory.network_label("a" * 64) == "app"
    assert inventory.network_label("b" * 64) == "app@bbbbbbbbbbbb"
    inventory.remove_network("a" * 64)
    assert inventory.network_label("b" * 64) == "app"


def test_an_unknown_network_has_no_label() -> None:
    assert Inventory().network_label("x") == ""


async def test_waiters_wake_up_with_the_next_change() -> None:
    inventory = Inventory()
    async with asyncio.TaskGroup() as group:
        waiter = group.create_task(inventory.changed(0))
        await asyncio.sleep(0)
        assert not waiter.done()
        inventory.put_container(Container("c", "web", "x", "running"))
    assert waiter.result() == 1


async def test_a_change_in_the_past_is_not_waited_for() -> None:
    inventory = Inventory()
    inventory.put_container(Container("c", "web", "x", "running"))
    async with asyncio.timeout(1):
        assert await inventory.changed(0) == 1


def test_it_is_complete_without_volumes_since_their_list_can_hang() -> None:
    inventory = Inventory()
    inventory.mark_listed("container")
    assert not inventory.complete
    inventory.mark_listed("network")
    assert inventory.complete
    assert not inventory.volumes_listed


def test_no_two_containers_have_one_name_while_the_fetch_of_the_older_is_yet_to_come() -> None:
    inventory = Inventory()
    inventory.put_container(Container("old", "web", "x", "exited"))
    inventory.put_container(Container("new", "web", "x", "running"))
    assert set(inventory.containers) == {"new"}
    inventory.remove_container("old")
    assert set(inventory.containers) == {"new"}


def test_containers_that_swap_their_names_are_both_there_in_the_end() -> None:
    inventory = Inventory()
    inventory.put_container(Container("1", "a", "x", "running"))
    inventory.put_container(Container("2", "b", "x", "running"))
    inventory.put_container(Container("1", "b", "x", "running"))
    inventory.put_container(Container("2", "a", "x", "running"))
    assert {c.id: c.name for c in inventory.containers.values()} == {"1": "b", "2": "a"}


@given(st.lists(st.tuples(st.sampled_from("123"), st.sampled_from("abc"), st.booleans())))
def test_names_stay_unique_whatever_comes(steps: list[tuple[str, str, bool]]) -> None:
    inventory = Inventory()
    for container_id, name, removed in steps:
        inventory.put_container(Container(container_id, name, "x", "running"))
        assert inventory.containers[container_id].name == name
        if removed:
            inventory.remove_container(container_id)
        names = [container.name for container in inventory.containers.values()]
        assert len(set(names)) == len(names)
        assert inventory._ids_by_name == {c.name: c.id for c in inventory.containers.values()}


@given(st.lists(st.sampled_from(["app", "app@bbbbbbbbbbbb", "db"]), max_size=8))
def test_no_two_networks_have_one_label_whatever_their_names(names: list[str]) -> None:
    inventory = Inventory()
    for number, name in enumerate(names):
        inventory.put_network(Network(f"{'b' * 12}{number}", name, "bridge", created_at=float(number % 3)))
    labels = {inventory.network_label(network) for network in inventory.networks}
    assert len(labels) == len(names)
