from exporter.volume.capacity import Capacity, capacity_of
from exporter.volume.usage import Space

DISK = Space(size_bytes=1000, free_bytes=300, available_bytes=250, inodes=50, inodes_free=20)
SMALL = Space(size_bytes=100, free_bytes=60, available_bytes=60, inodes=10, inodes_free=4)


def test_the_best_source_is_taken() -> None:
    everything = {"own": SMALL, "declared_bytes": 10, "filesystem": DISK, "used_bytes": 5}
    found = capacity_of(quota=SMALL, **everything)  # type: ignore[arg-type]
    assert found is not None
    assert found.source == "quota"
    found = capacity_of(**everything)  # type: ignore[arg-type]
    assert found == Capacity("mount", 100, 60, 10, 4)
    found = capacity_of(declared_bytes=10, filesystem=DISK, used_bytes=4)
    assert found == Capacity("declared", 10, 6, 50, 20)
    assert capacity_of(filesystem=DISK, used_bytes=4) == Capacity("filesystem", 1000, 250, 50, 20)
    assert capacity_of(used_bytes=4) is None


def test_a_declaration_leaves_no_more_than_the_file_system() -> None:
    found = capacity_of(declared_bytes=900, filesystem=DISK, used_bytes=100)
    assert found is not None
    assert found.available_bytes == 250


def test_a_volume_beyond_its_declaration_has_nothing_left() -> None:
    found = capacity_of(declared_bytes=90, filesystem=DISK, used_bytes=100)
    assert found is not None
    assert found.available_bytes == 0


def test_what_a_declaration_leaves_is_unknown_while_the_usage_is() -> None:
    assert capacity_of(declared_bytes=90, filesystem=DISK) == Capacity("declared", 90, None, 50, 20)
    assert capacity_of(declared_bytes=90, used_bytes=20) == Capacity("declared", 90, 70)
