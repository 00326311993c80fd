"""When a volume will be full, foretold by a real Prometheus from the exporter's gauges."""

import os
import time
from pathlib import Path

import docker
import pytest

from tests.harness.engine import PrivateEngine
from tests.harness.exporter import ExporterProcess
from tests.harness.prometheus import PrometheusServer
from tests.harness.wait import eventually
from tests.harness.workloads import disk_usage, run

pytestmark = pytest.mark.engine

MIB = 2**20
CAPACITY_BYTES = 60 * MIB
WRITE = (
    "i=0; while dd if=/dev/zero of=/data/$i bs=64k count=8 2>/dev/null; do i=$((i+1)); sleep 0.5; done; sleep 1000"
)


def test_the_time_until_a_volume_is_full_is_foretold_within_a_tenth(
    client: docker.DockerClient, engine: PrivateEngine
) -> None:
    """One volume has a file system of its own, the other's usage is walked and its capacity declared."""
    options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={CAPACITY_BYTES}"}
    own = Path(client.volumes.create("own", driver_opts=options).attrs["Mountpoint"])
    declared = Path(client.volumes.create("declared", labels={"netvol.capacity": "60MiB"}).attrs["Mountpoint"])
    full_at: dict[str, float] = {}
    with (
        ExporterProcess(f"--engine.host={engine.host}", "--volume.interval=1s") as exporter,
        PrometheusServer(exporter.url.removeprefix("http://")) as prometheus,
    ):
        for name in ("own", "declared"):
            run(client, name, command=["sh", "-c", WRITE], volumes={name: {"bind": "/data"}})
        eventually(lambda: used(own) > CAPACITY_BYTES / 2, "half full", 90)
        half_at = time.time()

        def are_full() -> bool:
            for name, is_full in (
                ("own", os.statvfs(own).f_bavail < 8 * 16),
                ("declared", disk_usage(declared)[0] >= CAPACITY_BYTES),
            ):
                if is_full:
                    full_at.setdefault(name, time.time())
            return len(full_at) == 2

        eventually(are_full, "both full", 120)
        for name, when in full_at.items():
            truth = when - half_at
            left = f'docker_volume_available_bytes{{volume="{name}"}}'

            def foretold(seconds: float, left: str = left) -> float:
                value = prometheus.value(f"predict_linear({left}[20s], {seconds})", at=half_at)
                assert value is not None
                return value

            low, high = 0.0, 10 * truth  # the zero of what Prometheus foretells
            while high - low > 0.01:
                middle = (low + high) / 2
                low, high = (middle, high) if foretold(middle) > 0 else (low, middle)
            print(f"\n{name}: half full, foretold full in {low:.1f} s, was full after {truth:.1f} s", end="")
            assert low == pytest.approx(truth, rel=0.1)


def used(path: Path) -> int:
    found = os.statvfs(path)
    return (found.f_blocks - found.f_bfree) * found.f_frsize
