import re
from collections import Counter

from exporter.inventory.inventory import Inventory
from exporter.inventory.model import Container, Mount, Volume
from exporter.volume.kinds import bind_mounts, is_anonymous, kind_of, needs_mount, users_of, writers_of


def container(name: str, *mounts: Mount, state: str = "running") -> Container:
    return Container(name, name, "x", state, pid=5 if state == "running" else 0, mounts=mounts)


def test_volumes_are_told_apart() -> None:
    assert is_anonymous(Volume("0f" * 32, "local", "/v"))
    assert is_anonymous(Volume("x", "local", "/v", labels={"com.docker.volume.anonymous": ""}))
    assert not is_anonymous(Volume("data", "local", "/v"))
    assert kind_of(Volume("v", "local", "/v")) == "directory"
    assert kind_of(Volume("v", "local", "/v", options={"type": "none", "o": "bind,ro", "device": "/x"})) == "bind"
    assert kind_of(Volume("v", "local", "/v", options={"type": "none", "o": "rbind", "device": "/x"})) == "bind"
    assert kind_of(Volume("v", "local", "/v", options={"type": "nfs", "device": ":/x"})) == "nfs"
    assert kind_of(Volume("v", "rexray", "/v")) == "plugin"
    assert kind_of(Volume("v", "csi", "", is_cluster=True)) == "cluster"
    assert not needs_mount(Volume("v", "local", "/v", options={"size": "5g"}))


def test_bind_mounts_are_taken_by_their_destination_and_named_by_their_path_on_the_host() -> None:
    data = Mount("bind", "", "/srv/data", "/var/lib/data", read_only=False)
    hosts = Mount("bind", "", "/etc/hosts", "/etc/hosts", read_only=True)
    containers = [container("web", data, hosts), container("db", data)]
    found = bind_mounts(containers, re.compile("/var/lib/.*"))
    assert list(found) == ["/srv/data"]
    assert kind_of(found["/srv/data"]) == "bind_mount"
    assert not needs_mount(found["/srv/data"])
    assert bind_mounts(containers, None) == {}


def test_users_are_counted_once_and_only_the_running_ones_that_may_can_write() -> None:
    mount = Mount("volume", "data", "/v/_data", "/data", read_only=False)
    again = Mount("volume", "data", "/v/_data", "/again", read_only=True)
    inventory = Inventory()
    inventory.put_container(container("writer", mount, again))
    inventory.put_container(container("reader", again))
    inventory.put_container(container("stopped", mount, state="exited"))
    assert users_of(inventory)["data"] == Counter(running=2, stopped=1)
    assert writers_of(inventory) == {"data": {"writer": 5}}
