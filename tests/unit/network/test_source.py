from exporter.inventory.model import Container
from exporter.network.source import namespace_key, namespace_owners


def container(name: str, mode: str = "bridge", pid: int = 1) -> Container:
    return Container(name, name, "x", "running", pid=pid, network_mode=mode)


def test_only_running_containers_with_a_namespace_of_their_own_are_read() -> None:
    containers = [
        container("plain"),
        container("stopped", pid=0),
        container("hosted", "host"),
        container("silent", "none"),
        container("joined", "container:plain"),
    ]
    assert [owner.name for owner in namespace_owners(containers)] == ["plain"]


def test_the_namespace_of_a_restarted_container_is_another_one() -> None:
    assert namespace_key(container("c", pid=1)) != namespace_key(container("c", pid=2))
