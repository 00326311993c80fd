import re

from structlog.testing import capture_logs

from exporter.inventory.model import Volume
from exporter.volume.mounts import MountPoint
from exporter.volume.places import Place
from exporter.volume.state import VolumeOptions, VolumeState, declared_bytes
from exporter.volume.usage import DirectorySpace, MeasureError, Space

PLACE = Place("/v", MountPoint("/", "/", "8:1", "ext4", "/dev/sda1"), is_own=False)
DIRECTORY = DirectorySpace(Space(1, 1, 1, 1, 1), 0.1)


def state(**more: object) -> VolumeState:
    return VolumeState.of(Volume("v", "local", "/v", **more))  # type: ignore[arg-type]


def test_the_label_of_a_volume_declares_its_capacity_and_wins() -> None:
    options = VolumeOptions(declared=[(re.compile("da.*"), 7), (re.compile("data"), 8)])
    labelled = Volume("data", "local", "/v", labels={"netvol.capacity": "50GB"})
    assert declared_bytes(labelled, options) == 50 * 10**9
    assert declared_bytes(Volume("data", "local", "/v"), options) == 7
    assert declared_bytes(Volume("other", "local", "/v"), options) is None


def test_an_unusable_label_is_told_with_volume_and_value_and_the_next_source_taken() -> None:
    volume = Volume("data", "local", "/v", labels={"netvol.capacity": "lots"})
    with capture_logs() as told:
        assert declared_bytes(volume, VolumeOptions(declared=[(re.compile("data"), 8)])) == 8
    assert [(line["volume"], line["value"]) for line in told] == [("data", "lots")]


def test_a_failure_keeps_what_was_measured_and_a_move_does_not() -> None:
    known = state()
    known.move(PLACE)
    known.directory = DIRECTORY
    known.succeeded(10, 2, 0.1)
    known.failed(MeasureError("timeout", "too long"))
    assert (known.used_bytes, known.failing, known.errors["timeout"]) == (10, "timeout", 1)
    known.succeeded(11, 2, 0.1)
    assert known.failing == ""
    known.move(None)
    assert known.used_bytes is None
    assert not known.errors  # or they would stand alone for as long as it is not mounted


def test_a_volume_is_walked_unless_something_else_tells() -> None:
    known = state()
    assert not known.is_walked
    known.move(PLACE)
    assert not known.is_walked  # not seen yet
    known.directory = DIRECTORY
    assert known.is_walked
    known.has_own_quota = True
    assert not known.is_walked


def test_a_volume_without_files_and_one_that_fails_are_not_waited_for() -> None:
    assert state().is_pending
    assert not state(options={"type": "nfs", "device": ":/x"}).is_pending
    failing = state()
    failing.failed(MeasureError("permission", "no"))
    assert not failing.is_pending
