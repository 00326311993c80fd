from pathlib import Path

import pytest

from exporter.inventory.model import Volume
from exporter.volume.capacity import capacity_of
from exporter.volume.mounts import MountPoint
from exporter.volume.places import Place
from exporter.volume.probing import Probing
from exporter.volume.state import VolumeOptions, VolumeState
from exporter.volume.usage import DirectorySpace, MeasureError, Project, Space, Walker

DISK = MountPoint("/disk", "/", "8:1", "xfs", "/dev/sda1", project_quota=True)
SHARE = MountPoint("/share", "/", "0:9", "nfs4", "server:/share")
DISK_SPACE = Space(1_000_000, 400_000, 400_000, 1000, 900)
QUOTA_SPACE = Space(50_000, 20_000, 20_000, 1000, 900)


class Answers:
    """What the children would answer, by path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directories: dict[str, DirectorySpace | MeasureError] = {}
        self.asked: list[str] = []
        self.space: Space | MeasureError = DISK_SPACE
        answers = self

        async def directory(_: Walker, path: str, __: float) -> DirectorySpace:
            answers.asked.append(path)
            found = answers.directories[path]
            if isinstance(found, MeasureError):
                raise found
            return found

        async def space(_: Walker, path: str, __: float) -> Space:
            answers.asked.append(path)
            if isinstance(answers.space, MeasureError):
                raise answers.space
            return answers.space

        monkeypatch.setattr(Walker, "directory", directory)
        monkeypatch.setattr(Walker, "space", space)


async def probe(probing: Probing, states: list[VolumeState], *, only_new: bool = False) -> None:
    await probing.probe_local(states, only_new=only_new)
    await probing.probe_remote(states, only_new=only_new)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


def state(path: str, mount: MountPoint = DISK, *, is_own: bool = False) -> VolumeState:
    found = VolumeState.of(Volume(path, "local", path))
    found.move(Place(path, mount, is_own))
    return found


async def test_a_quota_of_its_own_tells_capacity_and_usage_without_a_walk(answers: Answers) -> None:
    answers.directories["/disk/q"] = DirectorySpace(
        QUOTA_SPACE, 0.1, Project(is_own=True, used_bytes=30_123, inodes_used=7)
    )
    known, probing = state("/disk/q"), Probing(VolumeOptions())
    await probe(probing, [known])
    assert (known.used_bytes, known.inodes_used, known.is_walked) == (30_123, 7, False)
    capacity = probing.capacity(known)
    assert capacity is not None
    assert (capacity.source, capacity.capacity_bytes, capacity.available_bytes) == ("quota", 50_000, 20_000)


async def test_without_the_right_to_ask_for_the_quota_its_space_tells_the_usage(answers: Answers) -> None:
    answers.directories["/disk/q"] = DirectorySpace(QUOTA_SPACE, 0.1, Project(is_own=True))
    known = state("/disk/q")
    await probe(Probing(VolumeOptions()), [known])
    assert (known.used_bytes, known.inodes_used) == (30_000, None)


async def test_a_quota_that_volumes_share_limits_each_but_their_usage_is_walked(answers: Answers) -> None:
    answers.directories["/disk/q"] = DirectorySpace(QUOTA_SPACE, 0.1, Project(is_own=False, used_bytes=30_123))
    known, probing = state("/disk/q"), Probing(VolumeOptions())
    await probe(probing, [known])
    assert known.used_bytes is None
    assert known.is_walked
    capacity = probing.capacity(known)
    assert capacity is not None
    assert capacity.source == "quota"


async def test_a_project_without_a_limit_is_no_quota(answers: Answers) -> None:
    answers.directories["/disk/q"] = DirectorySpace(DISK_SPACE, 0.1, Project(is_own=True, used_bytes=30_123))
    known, probing = state("/disk/q"), Probing(VolumeOptions())
    await probe(probing, [known])
    assert known.is_walked
    capacity = probing.capacity(known)
    assert capacity is not None
    assert capacity.source == "filesystem"


async def test_a_server_tells_its_space_and_nobody_walks_it(answers: Answers) -> None:
    answers.directories["/share"] = DirectorySpace(QUOTA_SPACE, 0.1)
    known, probing = state("/share", SHARE, is_own=True), Probing(VolumeOptions())
    await probe(probing, [known])
    assert (known.used_bytes, known.inodes_used, known.is_walked) == (30_000, 100, False)
    assert probing.spaces == {SHARE: QUOTA_SPACE}
    capacity = probing.capacity(known)
    assert capacity is not None
    assert capacity.source == "mount"


@pytest.mark.parametrize("mount", [MountPoint("/ram", "/", "0:7", "tmpfs", "tmpfs"), SHARE])
async def test_a_file_system_that_tells_no_size_is_not_said_to_be_empty(
    answers: Answers, mount: MountPoint
) -> None:
    answers.directories["/own"] = DirectorySpace(Space(0, 0, 0, 1000, 900), 0.1)
    known, probing = state("/own", mount, is_own=True), Probing(VolumeOptions())
    await probe(probing, [known])
    assert (known.used_bytes, probing.capacity(known), probing.spaces) == (None, None, {})
    assert known.is_walked == (not mount.is_remote)


async def test_a_server_that_hangs_is_a_failure_and_keeps_what_was_known(answers: Answers) -> None:
    answers.directories["/share"] = DirectorySpace(QUOTA_SPACE, 0.1)
    known, probing = state("/share", SHARE, is_own=True), Probing(VolumeOptions())
    await probe(probing, [known])
    answers.directories["/share"] = MeasureError("timeout", "hangs")
    await probe(probing, [known])
    assert (known.used_bytes, known.errors["timeout"]) == (30_000, 1)


async def test_a_quota_that_is_not_told_any_more_is_a_failure_and_no_new_measurement(answers: Answers) -> None:
    answers.directories["/disk/q"] = DirectorySpace(QUOTA_SPACE, 0.1, Project(is_own=True, used_bytes=30_123))
    known, probing = state("/disk/q"), Probing(VolumeOptions())
    await probe(probing, [known])
    measured_at = known.measured_at
    answers.directories["/disk/q"] = MeasureError("timeout", "hangs")
    await probe(probing, [known])
    assert (known.used_bytes, known.measured_at, known.failing) == (30_123, measured_at, "timeout")


async def test_a_file_system_that_does_not_answer_changes_no_capacity(answers: Answers) -> None:
    answers.directories["/disk/d"] = DirectorySpace(DISK_SPACE, 0.1)
    answers.directories["/disk/q"] = DirectorySpace(QUOTA_SPACE, 0.1, Project(is_own=True, used_bytes=30_123))
    known, probing = [state("/disk/d"), state("/disk/q")], Probing(VolumeOptions())
    for one in known:
        one.declared_bytes = 900_000
    await probe(probing, known)
    known[0].used_bytes = 100_000
    before = [probing.capacity(one) for one in known]
    assert [(one.source, one.available_bytes) for one in before if one] == [
        ("declared", 400_000),
        ("quota", 20_000),
    ]
    answers.space = MeasureError("timeout", "hangs")
    await probe(probing, known)
    assert [probing.capacity(one) for one in known] == before
    assert not known[1].is_walked


async def test_the_space_of_a_file_system_is_forgotten_with_its_last_volume(answers: Answers) -> None:
    answers.directories["/disk/d"] = DirectorySpace(DISK_SPACE, 0.1)
    probing = Probing(VolumeOptions())
    await probe(probing, [state("/disk/d")])
    probing.keep_only([DISK])
    assert probing.spaces
    probing.keep_only([SHARE])
    assert not probing.spaces


async def test_a_directory_that_is_missing_is_not_given_the_space_of_what_is_there_instead(
    answers: Answers,
) -> None:
    answers.directories["/disk/gone"] = MeasureError("missing", "No such file or directory")
    known, probing = state("/disk/gone"), Probing(VolumeOptions())
    await probe(probing, [known])
    assert probing.capacity(known) is None
    assert probing.spaces == {}


async def test_between_the_intervals_only_what_is_new_is_asked_for(answers: Answers) -> None:
    answers.directories["/disk/a"] = answers.directories["/disk/b"] = DirectorySpace(DISK_SPACE, 0.1)
    first, probing = state("/disk/a"), Probing(VolumeOptions())
    await probe(probing, [first])
    answers.asked.clear()
    await probe(probing, [first, state("/disk/b")], only_new=True)
    assert answers.asked == ["/disk/b"]


async def test_what_lost_a_writer_is_asked_for_at_once(answers: Answers) -> None:
    answers.directories["/own"] = DirectorySpace(QUOTA_SPACE, 0.1)
    known, probing = state("/own", is_own=True), Probing(VolumeOptions())
    await probe(probing, [known])
    known.lost_a_writer = True
    await probe(probing, [known], only_new=True)
    await probe(probing, [known], only_new=True)
    assert answers.asked == ["/own", "/own"]


async def test_a_real_directory_is_told_what_its_file_system_has(tmp_path: Path) -> None:
    mount = MountPoint(str(tmp_path), "/", "8:1", "ext4", "/dev/sda1")
    known, probing = state(str(tmp_path), mount), Probing(VolumeOptions())
    await probe(probing, [known])
    await probing.close()
    capacity = probing.capacity(known)
    assert capacity is not None
    assert capacity.source == "filesystem"
    assert capacity.capacity_bytes > 0


async def test_an_answer_counts_though_the_place_was_looked_at_again_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, probing = state("/share", SHARE, is_own=True), Probing(VolumeOptions())

    async def slow(_: Walker, __: str, ___: float) -> DirectorySpace:
        known.place = Place("/share", SHARE, is_own=True, nested=("new",))
        raise MeasureError("timeout", "hangs")

    monkeypatch.setattr(Walker, "directory", slow)
    await probe(probing, [known])
    assert known.errors["timeout"] == 1


async def test_of_volumes_on_a_server_their_capacity_is_the_servers_and_this_hosts_child_does_not_ask_it(
    answers: Answers,
) -> None:
    answers.directories["/share/a"] = answers.directories["/share/b"] = DirectorySpace(DISK_SPACE, 0.1)
    known, probing = [state("/share/a", SHARE), state("/share/b", SHARE)], Probing(VolumeOptions())
    await probe(probing, known)
    await probing.probe_local(known)
    assert sorted(answers.asked) == ["/share/a", "/share/b"]
    assert [probing.capacity(one) for one in known] == [capacity_of(filesystem=DISK_SPACE)] * 2
    assert all(one.is_walked for one in known)
