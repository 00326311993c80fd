"""What is known of one volume, and the options by which it is measured."""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.inventory.model import Volume
from exporter.inventory.sizes import parse_size
from exporter.logs import get_logger
from exporter.metrics.samples import LabelSet, label_set
from exporter.volume.kinds import needs_mount
from exporter.volume.places import Place
from exporter.volume.usage import DirectorySpace, MeasureError

CAPACITY_LABEL = "netvol.capacity"
"""Label of a volume that declares its capacity."""


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """Where the host's files are seen, and how often and how long to measure; times in seconds.

    `declared` are capacities in bytes by expressions for whole names, `bind_mounts` is one for destinations.
    """

    procfs: Path = Path("/proc")
    rootfs: Path = Path("/")
    interval_seconds: float = 60.0
    max_age_seconds: float = 3600.0
    timeout_seconds: float = 600.0
    space_timeout_seconds: float = 5.0
    max_share: float = 0.05
    declared: Sequence[tuple[re.Pattern[str], int]] = ()
    bind_mounts: re.Pattern[str] | None = None
    engine_usage: bool = True
    engine_usage_seconds: float = 900.0


@dataclass(slots=True)
class VolumeState:
    """A volume with all that was found out about it; None for what is not known.

    `lost_a_writer` says that a container that may have written ended since its file system was asked last.
    """

    volume: Volume
    labels: LabelSet
    declared_bytes: int | None = None
    place: Place | None = None
    directory: DirectorySpace | None = None
    has_own_quota: bool = False
    is_encrypted: bool | None = None
    used_bytes: int | None = None
    inodes_used: int | None = None
    measured_at: float = 0.0
    seconds: float = 0.0
    is_engines: bool = False
    errors: Counter[str] = field(default_factory=Counter)
    failing: str = ""
    writers: Mapping[str, int] = field(default_factory=dict)
    lost_a_writer: bool = False
    plugin_status: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, volume: Volume) -> "VolumeState":
        """A volume of which nothing is known yet."""
        return cls(volume, label_set(("volume",), (volume.name,)))

    @property
    def is_walked(self) -> bool:
        """Whether only a walk tells its usage: no file system and no quota of its own does; servers are spared."""
        if self.place is None or self.directory is None or self.has_own_quota:
            return False
        return not self.place.is_own or not (self.directory.space.is_told or self.place.mount.is_remote)

    @property
    def is_pending(self) -> bool:
        """Whether it takes space on this host and has not been measured yet; a failure is not waited for."""
        return self.used_bytes is None and not self.failing and not needs_mount(self.volume)

    def move(self, place: Place | None) -> None:
        """Note that its files are elsewhere, or others: what was measured before is no longer so."""
        self.place = place
        self.directory = self.used_bytes = self.inodes_used = self.is_encrypted = None
        self.has_own_quota = self.is_engines = False
        # Failures were of what was there: they would stand beside no measurement for as long as it is not mounted.
        self.errors, self.failing = Counter(), ""

    def succeeded(
        self, used_bytes: int, inodes_used: int | None, seconds: float, *, is_engines: bool = False
    ) -> None:
        """Note a measurement that was just made, by the engine or here."""
        self.used_bytes, self.inodes_used, self.seconds = used_bytes, inodes_used, seconds
        self.measured_at, self.is_engines = time.time(), is_engines
        if self.failing and not is_engines:
            self.failing = ""
            get_logger().info("volume measured again", volume=self.volume.name)

    def failed(self, error: MeasureError) -> None:
        """Count a failure, and log its beginning. What was measured before stays; its age is told."""
        self.errors[error.reason] += 1
        if self.failing != error.reason:
            self.failing = error.reason
            get_logger().warning(
                "volume not measured", volume=self.volume.name, reason=error.reason, detail=str(error)
            )


def declared_bytes(volume: Volume, options: VolumeOptions) -> int | None:
    """The capacity that a volume's label declares, or else an option; an unusable label is logged."""
    text = volume.labels.get(CAPACITY_LABEL)
    if text is not None:
        try:
            return parse_size(text)
        except ValueError as error:
            get_logger().warning(
                "capacity of volume not usable",
                volume=volume.name,
                label=CAPACITY_LABEL,
                value=text,
                allowed=str(error),
            )
    return next((size for name, size in options.declared if name.fullmatch(volume.name)), None)
