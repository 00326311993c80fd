import asyncio

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
