import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.settings import DEFAULT_PORT, Duration, ListenAddress, Settings, UsageError, flags, load


def usage_error(*arguments: str, **environment: str) -> str:
    with pytest.raises(UsageError) as error:
        load(arguments, environment)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_without_flags_it_listens_on_port_10420_and_polls_every_five_seconds() -> None:
    settings = load([], {})
    assert settings.web.listen_address == [f":{DEFAULT_PORT}"]
    assert settings.poll.interval == 5.0
    assert settings.command == "serve"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("5m", 300), ("1m30s", 90), ("100ms", 0.1), ("2h", 7200), ("1d", 86400), ("7", 7), ("0.5", 0.5)],
)
def test_durations_are_read_with_units_or_as_seconds(text: str, seconds: float) -> None:
    assert load([f"--poll.interval={text}"], {}).poll.interval == pytest.approx(seconds)


@given(st.integers(min_value=1, max_value=10**9))
def test_a_duration_reads_what_it_prints(milliseconds: int) -> None:
    duration = Duration(milliseconds / 1000)
    assert Duration.parse(str(duration)) == pytest.approx(float(duration))


def test_a_bad_duration_is_refused_with_flag_value_and_what_is_allowed() -> None:
    message = usage_error("--poll.interval=soon")
    assert message == (
        "--poll.interval (or NETVOL_POLL_INTERVAL): 'soon' is not allowed; "
        "allowed: a duration such as 5s, 1m30s or 100ms, or seconds"
    )


def test_a_poll_interval_below_a_tenth_of_a_second_is_refused() -> None:
    assert "allowed: 100ms or more" in usage_error("--poll.interval=50ms")


def test_each_flag_is_an_environment_variable_and_the_flag_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETVOL_POLL_INTERVAL", "9s")
    assert load([]).poll.interval == 9.0
    assert load(["--poll.interval=3s"]).poll.interval == 3.0


def test_listen_addresses_are_repeatable_and_may_be_ipv6() -> None:
    settings = load(["--web.listen-address=[::1]:1", "--web.listen-address", "localhost:2"], {})
    assert [(a.host, a.port) for a in settings.web.listen_address] == [("::1", 1), ("localhost", 2)]


def test_listen_addresses_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETVOL_WEB_LISTEN_ADDRESS", "127.0.0.1:1, :2")
    assert load([]).web.listen_address == [ListenAddress("127.0.0.1:1"), ListenAddress(":2")]


@pytest.mark.parametrize("address", ["localhost", ":70000", "::1:80", "a b:1", ""])
def test_a_bad_listen_address_is_refused(address: str) -> None:
    assert "the port from 0 to 65535" in usage_error(f"--web.listen-address={address}")


def test_an_unknown_flag_is_refused() -> None:
    assert usage_error("--pol.interval=3s") == "unrecognized arguments: --pol.interval=3s"


def test_an_unknown_environment_variable_is_refused_with_the_known_ones() -> None:
    message = usage_error(NETVOL_POL_INTERVAL="3s")
    assert message.startswith("unknown environment variable NETVOL_POL_INTERVAL; allowed are NETVOL_")


def test_the_image_may_tell_its_revision_in_the_environment() -> None:
    assert load([], {"NETVOL_EXPORTER_REVISION": "abc"}).command == "serve"


def test_an_unknown_command_is_refused() -> None:
    assert "allowed: serve, check or completion" in usage_error("chek")


def test_an_unknown_source_is_refused() -> None:
    assert "allowed: auto, procfs or engine" in usage_error("--network.source=magic")


def test_a_telemetry_path_without_slash_is_refused() -> None:
    assert "--web.telemetry-path" in usage_error("--web.telemetry-path=metrics")
    assert "--web.telemetry-path" in usage_error("--web.telemetry-path=/-/ready")


def test_a_relative_path_of_the_host_is_refused() -> None:
    assert "--path.rootfs" in usage_error("--path.rootfs=host")
    assert "allowed: an absolute path" in usage_error("--path.procfs=host/proc")


def test_every_flag_has_a_help_text() -> None:
    assert len(flags()) >= 10
    for flag in flags().values():
        assert flag.help.endswith((".", ")")), flag.name


def test_settings_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().once = True  # type: ignore[misc]


def test_a_bad_expression_is_refused_with_its_position() -> None:
    message = usage_error("--container.exclude=web(")
    assert message == (
        "--container.exclude (or NETVOL_CONTAINER_EXCLUDE): 'web(' is not allowed; "
        "allowed: a regular expression; missing ), unterminated subpattern at position 3"
    )


def test_an_expression_may_hold_commas_and_brackets() -> None:
    settings = load(["--network.include=[a-z]{1,3},?"], {})
    assert settings.network.include is not None
    assert settings.network.include.compiled.fullmatch("abc,")


def test_labels_that_would_become_one_are_refused() -> None:
    message = usage_error("--container.labels=a.b", "--container.labels=a-b")
    assert "allowed: labels that differ" in message


def test_capacities_are_declared_by_name_and_size() -> None:
    declared = load(["--volume.capacity=pg.*=50GB", "--volume.capacity", "a=5g"], {}).volume.capacity
    assert [(one.name, one.bytes) for one in declared] == [("pg.*", 50 * 10**9), ("a", 5 * 2**30)]


def test_capacities_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETVOL_VOLUME_CAPACITY", "a=1g, b=2g")
    assert [one.bytes for one in load([]).volume.capacity] == [2**30, 2**31]


@pytest.mark.parametrize(
    ("text", "told"),
    [("data", "NAME=SIZE"), ("=5g", "NAME=SIZE"), ("data=much", "50GiB"), ("(=5g", "at position 0")],
)
def test_a_bad_capacity_is_refused_with_its_value_and_what_is_allowed(text: str, told: str) -> None:
    message = usage_error(f"--volume.capacity={text}")
    assert f"--volume.capacity (or NETVOL_VOLUME_CAPACITY): {text!r} is not allowed" in message
    assert told in message


@pytest.mark.parametrize("share", ["0", "-1", "1.5", "much"])
def test_a_share_of_time_is_above_0_and_at_most_1(share: str) -> None:
    assert f"--volume.max-share (or NETVOL_VOLUME_MAX_SHARE): '{share}' is not allowed" in usage_error(
        f"--volume.max-share={share}"
    )
    assert load(["--volume.max-share=0.5"], {}).volume.max_share == 0.5


def test_the_engines_disk_usage_can_be_turned_off() -> None:
    assert load([], {}).volume.engine_df
    assert not load(["--no-volume.engine-df"], {}).volume.engine_df


@pytest.mark.parametrize("pattern", ["a{99999999999999999999}", "(" * 5000 + ")" * 5000])
def test_an_expression_that_is_too_much_for_the_library_is_refused_in_one_line(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"network.include .* a regular expression; "):
        load([f"--network.include={pattern}"], {})


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + "d", "\u0665s", "1e5", "inf", "nan"])
def test_a_time_without_end_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="a duration such as"):
        load([f"--volume.timeout={text}"], {})
