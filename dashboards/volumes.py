"""Volumes: which is full or will be, what grows, who uses it, and what could be removed."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from dashboards.parts import (
    FILESYSTEM_FILL,
    ORANGE,
    RED,
    STALE,
    VOLUME_FILL,
    Column,
    Query,
    bars,
    board,
    graph,
    link_to,
    number,
    object_variable,
    project_variable,
    rows,
    with_panels,
)
from dashboards.promql import (
    OWN_LIMIT,
    PROJECT,
    column,
    described,
    highest,
    keep,
    leaders,
    lowest,
    series,
    top,
    volume_fill,
)

UID = "netvol-volumes"

_VOLUME = 'volume=~"$volume"'
_NAMES = "{{volume}} · {{instance}}"
_FILESYSTEM = "job, instance, filesystem, device"
_FILESYSTEM_NAMES = "{{filesystem}} · {{instance}}"
_DAY = 24 * 3600
_TIME_LEFT = ((0, RED), (_DAY, ORANGE), (4 * _DAY, "green"))
_SOON = 30 * _DAY


def _of_volume(name: str) -> str:
    return series(name, _VOLUME)


def _chosen(expression: str) -> str:
    return described(expression, "volume", PROJECT)


def _with_own_limit(expression: str) -> str:
    return described(expression, "volume", OWN_LIMIT, PROJECT)


def _time_left(used: str, capacity: str, available: str) -> str:
    """Seconds until a volume is full, at the growth of the last six hours; no series where it does not grow.

    As the alerts see it: of a declared limit by what the volume itself takes, not by what its disk loses; and from
    the tenth sample on, for two would foretell anything.
    """
    declared = series("docker_volume_info", capacity_source="declared")
    own = f"clamp_min({capacity} - {used}, 0) / (deriv({used}[6h]) > 0) and count_over_time({used}[6h]) >= 10"
    other = f"{available} / (-deriv({available}[6h]) > 0) and count_over_time({available}[6h]) >= 10"
    return f"({keep(own, 'volume', declared)} or {other} unless on (job, instance, volume) {declared})"


def dashboard() -> Dashboard:
    """How full and how long, then what grows, then who uses what, and what could go."""
    used, capacity, available = (
        _of_volume(f"docker_volume_{what}_bytes") for what in ("used", "capacity", "available")
    )
    fill = volume_fill(_VOLUME)
    inode_fill = f"1 - {_of_volume('docker_volume_inodes_free')} / {_of_volume('docker_volume_inodes')}"
    left = _time_left(used, capacity, available)
    filesystem_available, filesystem_size = (
        series(f"docker_filesystem_{what}_bytes") for what in ("available", "size")
    )
    filesystem_fill = f"1 - {filesystem_available} / {filesystem_size}"
    filesystem_inode_fill = f"1 - {series('docker_filesystem_inodes_free')} / {series('docker_filesystem_inodes')}"
    growth = f"deriv({used}[1h]) * {_DAY}"
    measured = _of_volume("docker_volume_measured_timestamp_seconds")
    age = f"time() - {measured}"
    duration = _of_volume("docker_volume_measurement_duration_seconds")
    errors = _of_volume("docker_volume_measurement_errors_total")
    mounts, mount = (
        _chosen(_of_volume("docker_volume_mount_info")),
        ("volume", "container", "destination", "read_only"),
    )
    dangling = series("docker_volume_dangling_bytes")
    users = f"sum by (job, instance, volume) ({_of_volume('docker_volume_containers')}) == 0"
    return with_panels(
        board(
            UID,
            "Docker networks and volumes / Volumes",
            "Usage, limits, growth and users of every Docker volume.",
            project_variable(),
            object_variable("volume"),
        ),
        number(
            "Fullest volume",
            "Of those with a limit of their own: a quota, a file system, or a declared size. Orange from 85 "
            "%, red from 97 %.",
            "percentunit",
            f"max({_with_own_limit(fill)})",
            VOLUME_FILL,
            none="none",
        ),
        number(
            "Full soonest",
            "When the first volume with a limit of its own is full, at the growth of the last six hours.",
            "dtdurations",
            f"min({_with_own_limit(left)})",
            _TIME_LEFT,
            none="none grows",
        ),
        number(
            "Fullest file system",
            "Of those that hold volumes. Orange from 95 %, red from 97 %.",
            "percentunit",
            f"max({filesystem_fill})",
            FILESYSTEM_FILL,
        ),
        number("Volumes hold", "Bytes in the chosen volumes.", "bytes", f"sum({_chosen(used)})"),
        number(
            "Dangling volumes hold",
            "Bytes in volumes that no container uses, named and anonymous: what removing them would free.",
            "bytes",
            f"sum({dangling})",
        ),
        number(
            "Oldest measurement",
            "Since when the usage of some volume was not measured. Orange from three hours.",
            "dtdurations",
            f"max({_chosen(age)})",
            STALE,
        ),
        "How full",
        bars(
            "Volumes with a limit of their own",
            "The fullest volumes whose limit is a quota, a file system, or a declared size. Orange from 85 %, red "
            "from 97 %, where the alert DockerVolumeFillingUp looks.",
            "percentunit",
            Query(_with_own_limit(fill), _NAMES),
            VOLUME_FILL,
            limit=1,
            width=8,
            height=10,
            link=link_to(UID, volume="${__field.labels.volume}"),
        ),
        bars(
            "File systems that hold volumes",
            "Where a volume has no limit of its own, this is what it can fill, together with all else there.",
            "percentunit",
            Query(filesystem_fill, _FILESYSTEM_NAMES),
            FILESYSTEM_FILL,
            limit=1,
            width=8,
            height=10,
        ),
        rows(
            "Full within 30 days",
            "Volumes with a limit of their own, at the growth of the last six hours. Empty when none grows "
            "that fast.",
            (
                Column("volume", "Volume", link=link_to(UID, volume="${__value.raw}")),
                Column("instance", "Instance", width=130),
                Column("Value #A", "Full in", "dtdurations", steps=_TIME_LEFT, width=80),
                Column("Value #B", "Free", "bytes", width=80),
            ),
            column(f"({_with_own_limit(left)}) < {_SOON}", "volume"),
            column(f"{_with_own_limit(available)} and {left} < {_SOON}", "volume"),
            sort_by="Full in",
            ascending=True,
            width=8,
            height=10,
        ),
        graph(
            "Fill over time",
            "The ten fullest volumes with a limit of their own. The lines are where the alerts look.",
            "percentunit",
            Query(
                top(
                    fill,
                    "volume",
                    f"1 - {lowest('docker_volume_available_bytes', _VOLUME)}"
                    f" / {highest('docker_volume_capacity_bytes', _VOLUME)}",
                    OWN_LIMIT,
                    PROJECT,
                ),
                _NAMES,
            ),
            steps=VOLUME_FILL,
            limit=1,
        ),
        graph(
            "File systems over time",
            "How full the file systems that hold volumes are.",
            "percentunit",
            Query(
                leaders(
                    filesystem_fill,
                    _FILESYSTEM,
                    f"1 - {lowest('docker_filesystem_available_bytes')}"
                    f" / {highest('docker_filesystem_size_bytes')}",
                ),
                _FILESYSTEM_NAMES,
            ),
            steps=FILESYSTEM_FILL,
            limit=1,
        ),
        "What grows",
        graph(
            "Biggest volumes",
            "Bytes in the ten volumes that held most in the time range.",
            "bytes",
            Query(top(used, "volume", highest("docker_volume_used_bytes", _VOLUME), PROJECT), _NAMES),
        ),
        graph(
            "Growth per day",
            "How much the ten fastest volumes would grow in a day, at the growth of the last hour.",
            "bytes",
            Query(top(f"{growth} > 0", "volume", f"deriv({used}[$__range] @ end())", PROJECT), _NAMES),
        ),
        graph(
            "Inodes of volumes",
            "Share of the inodes that are taken, of the ten volumes with the fewest left. A volume without inodes "
            "is full, however many bytes are free.",
            "percentunit",
            Query(
                top(
                    inode_fill,
                    "volume",
                    f"1 - {lowest('docker_volume_inodes_free', _VOLUME)}"
                    f" / {highest('docker_volume_inodes', _VOLUME)}",
                    PROJECT,
                ),
                _NAMES,
            ),
            steps=VOLUME_FILL,
            limit=1,
        ),
        graph(
            "Inodes of file systems",
            "Share of the inodes of the file systems that hold volumes.",
            "percentunit",
            Query(
                leaders(
                    filesystem_inode_fill,
                    _FILESYSTEM,
                    f"1 - {lowest('docker_filesystem_inodes_free')} / {highest('docker_filesystem_inodes')}",
                ),
                _FILESYSTEM_NAMES,
            ),
            steps=FILESYSTEM_FILL,
            limit=1,
        ),
        "Who uses what",
        rows(
            "Volumes",
            "One line for each volume. The source says where its limit comes from; `filesystem` means that "
            "it shares a disk with others.",
            (
                Column("volume", "Volume", link=link_to(UID, volume="${__value.raw}")),
                Column("instance", "Instance"),
                Column("compose_project", "Project", width=110),
                Column("driver", "Driver", width=65),
                Column("kind", "Kind", width=85),
                Column("capacity_source", "Limit by", width=90),
                Column("Value #B", "Holds", "bytes", width=85),
                Column("Value #C", "Limit", "bytes", width=85),
                Column("Value #D", "Full", "percentunit", steps=VOLUME_FILL, bar=True, width=130),
                Column("Value #E", "Users", width=65),
                Column("Value #F", "Full in", "dtdurations", steps=_TIME_LEFT, width=95),
                Column("Value #G", "Measured", "dateTimeFromNow", width=125),
                Column("Value #H", "Encrypted", texts={"0": "no", "1": "yes"}, width=90),
            ),
            column(
                series("docker_volume_info", _VOLUME, PROJECT),
                *("volume", "driver", "kind", "capacity_source", "compose_project"),
            ),
            column(_chosen(used), "volume"),
            column(_chosen(capacity), "volume"),
            column(_chosen(fill), "volume"),
            f"sum by (instance, volume) ({_chosen(_of_volume('docker_volume_containers'))})",
            column(_with_own_limit(left), "volume"),
            column(_chosen(f"{measured} * 1000"), "volume"),
            column(_chosen(_of_volume("docker_volume_encrypted")), "volume"),
            sort_by="Holds",
            height=11,
        ),
        rows(
            "Consumers",
            "Containers that mount the chosen volumes, running or not.",
            (
                Column("volume", "Volume"),
                Column("container", "Container", link=link_to("netvol-networks", container="${__value.raw}")),
                Column("instance", "Instance"),
                Column("destination", "Mounted at"),
                Column("read_only", "Read only", width=80),
                Column("Value #B", "Volume holds", "bytes", width=110),
            ),
            column(mounts, *mount),
            column(f"({mounts}) * on (job, instance, volume) group_left () {used}", *mount),
            sort_by="Volume holds",
            width=14,
        ),
        rows(
            "Named volumes that nobody uses",
            "Volumes without a container, running or stopped; anonymous ones are summed beside. `docker "
            "volume rm` frees them.",
            (
                Column("volume", "Volume"),
                Column("instance", "Instance"),
                Column("Value", "Holds", "bytes", width=120),
            ),
            column(f"{_chosen(used)} and on (job, instance, volume) ({users})", "volume"),
            sort_by="Holds",
            width=10,
        ),
        graph(
            "Dangling volumes",
            "Bytes in volumes that no container uses: what removing them would free.",
            "bytes",
            Query(
                f"sum({series('docker_volume_dangling_bytes', anonymous='true')})",
                "anonymous",
            ),
            Query(
                f"sum({series('docker_volume_dangling_bytes', anonymous='false')})",
                "named",
            ),
            stacked=True,
        ),
        graph(
            "Number of dangling volumes",
            "Volumes that no container uses.",
            "short",
            Query(
                f"sum({series('docker_volume_dangling', anonymous='true')})",
                "anonymous",
            ),
            Query(
                f"sum({series('docker_volume_dangling', anonymous='false')})",
                "named",
            ),
            stacked=True,
            decimals=0,
        ),
        "Measuring",
        graph(
            "Age of the measurements",
            "Since when usage was not measured, of the ten volumes where it is longest. An alert looks at "
            "three hours.",
            "dtdurations",
            Query(top(age, "volume", f"-last_over_time({measured}[$__range] @ end())", PROJECT), _NAMES),
            steps=STALE,
            width=8,
        ),
        graph(
            "Duration of the measurements",
            "How long the last measurement took, of the ten slowest volumes. Quotas and file systems take no "
            "time; walks take as long as there are files.",
            "s",
            Query(
                top(duration, "volume", highest("docker_volume_measurement_duration_seconds", _VOLUME), PROJECT),
                _NAMES,
            ),
            width=8,
        ),
        graph(
            "Failed measurements",
            "Measurements of a volume that failed, by reason. docs/volumes.md says what each means.",
            "short",
            Query(
                leaders(
                    f"sum by (instance, volume, reason) (increase({errors}[$__rate_interval]))",
                    "instance, volume, reason",
                    f"sum by (instance, volume, reason) (increase({errors}[$__range] @ end()))",
                ),
                "{{volume}} {{reason}} · {{instance}}",
            ),
            width=8,
        ),
    )
