from exporter.metrics.catalogue import CONTAINER_TRAFFIC, NETWORK_TRAFFIC
from exporter.network.counters import InterfaceCounters


def test_counters_stand_in_the_order_of_the_catalogue() -> None:
    fields = [field.replace("dropped", "packets_dropped") for field in InterfaceCounters._fields]
    assert [family.name for family in NETWORK_TRAFFIC] == [f"docker_network_{field}_total" for field in fields]
    assert [family.name for family in CONTAINER_TRAFFIC] == [
        f"docker_container_network_{field}_total" for field in fields
    ]
