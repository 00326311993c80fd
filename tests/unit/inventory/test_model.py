from exporter.inventory.model import Container, Volume, is_process_of


def test_a_paused_container_still_runs_since_it_has_processes() -> None:
    assert Container("c", "web", "nginx", "paused", pid=7).is_running
    assert not Container("c", "web", "nginx", "exited").is_running


def test_the_container_whose_namespace_is_joined_is_known_by_id() -> None:
    assert Container("c", "side", "x", "running", network_mode="container:abc").joined_container == "abc"
    assert Container("c", "side", "x", "running", network_mode="bridge").joined_container == ""


def test_driver_options_of_a_volume_are_not_in_its_text_since_they_can_hold_passwords() -> None:
    assert "secret" not in repr(Volume("v", "local", "/v", options={"o": "password=secret"}))


def test_a_process_is_a_containers_if_its_cgroup_names_the_whole_id() -> None:
    for cgroup in (
        b"0::/system.slice/docker-abc.scope\n",
        b"7:blkio:/docker/abc\n",
        b"0::/../abc\n",
        b"0::/x/abc/y\n",
    ):
        assert is_process_of("abc", cgroup)
    for container_id in ("ab", "bc", "", "docker-ab", "a.c", "\ud800"):
        assert not is_process_of(container_id, b"0::/system.slice/docker-abc.scope\n")
    assert not is_process_of("abc", b"0::/abcabc\n")
    assert is_process_of("abc", b"0::/abcabc/abc")
