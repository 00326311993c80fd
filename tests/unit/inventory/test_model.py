from exporter.inventory.model import Container, Volume


def test_a_paused_container_still_runs_since_it_has_processes() -> None:
    assert Container("c", "web", "nginx", "paused", pid=7).is_running
    assert not Container("c", "web", "nginx", "exited").is_running


def test_the_container_whose_namespace_is_joined_is_known_by_id() -> None:
    assert Container("c", "side", "x", "running", network_mode="container:abc").joined_container == "abc"
    assert Container("c", "side", "x", "running", network_mode="bridge").joined_container == ""


def test_driver_options_of_a_volume_are_not_in_its_text_since_they_can_hold_passwords() -> None:
    assert "secret" not in repr(Volume("v", "local", "/v", options={"o": "password=secret"}))
