"""`netvol-exporter check`: what can and can't be seen from here, and for each lack what to change."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from exporter.engine.api import Engine, EngineError, EngineOptions
from exporter.engine.transport import TlsFiles
from exporter.inventory.inventory import Inventory
from exporter.inventory.model import EngineInfo, Network, Volume
from exporter.network.choice import choose_source, is_engine_here
from exporter.network.devices import in_host_namespace
from exporter.network.procfs import ProcfsSource, parse_net_dev
from exporter.network.source import namespace_owners
from exporter.privileges import held
from exporter.settings import Settings
from exporter.volume.walker import gnu_find

_MARKS = {True: "ok", False: "lack", None: ""}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table: what was looked at, what was found, and what to change if it is a lack."""

    subject: str
    found: str
    fine: bool | None = None
    advice: str = ""


async def check(settings: Settings, output: TextIO) -> int:
    """Print the table; the exit code is 0, or 1 if the engine can't be reached."""
    tls = TlsFiles(settings.engine.tls_ca, settings.engine.tls_cert, settings.engine.tls_key)
    engine = Engine(EngineOptions(host=settings.engine.host, tls=tls))
    try:
        findings, reached = await _look(settings, engine)
    finally:
        await engine.close()
    output.write(format_table(findings).encode(errors="backslashreplace").decode())
    return 0 if reached else 1


def format_table(findings: Sequence[Finding]) -> str:
    """The table as text, advice on a line of its own below what it is about."""
    width = max(len(finding.subject) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.fine]:<5} {finding.subject:<{width}}  {finding.found}".rstrip())
        if finding.advice:
            lines.append(f"{'':<5} {'':<{width}}  -> {finding.advice}")
    return "\n".join(lines) + "\n"


async def _look(settings: Settings, engine: Engine) -> tuple[list[Finding], bool]:
    inventory = Inventory()
    try:
        info, _ = await engine.connect()
        inventory.put_engine(info)
        for network in await engine.list_networks():
            inventory.put_network(network)
        for listed in await engine.list_containers():
            inventory.put_container(await engine.container(listed.id) if listed.state == "running" else listed)
        for volume in await engine.list_volumes():
            inventory.put_volume(volume)
    except EngineError as error:
        advice = (
            "start the engine, or name it with --engine.host; the user needs access to its socket "
            "(root, or a member of the group docker)"
        )
        return [Finding("Docker engine", f"{engine.host}: {error}", fine=False, advice=advice)], False
    # What follows reads files: off the loop.
    return await asyncio.to_thread(lambda: list(_findings(settings, engine.host, inventory, info))), True


def _findings(settings: Settings, host: str, inventory: Inventory, info: EngineInfo) -> Iterator[Finding]:
    yield Finding("Docker engine", f"{host}, version {info.version}, API {info.api_version}", fine=True)
    yield Finding(
        "Inventory",
        f"{len(inventory.containers)} containers, {len(inventory.networks)} networks, "
        f"{len(inventory.volumes)} volumes",
    )
    yield _traffic(settings, inventory)
    if not is_engine_here(host, inventory, ProcfsSource(settings.path.procfs).sees):
        yield Finding(
            "Host",
            "the engine's is another, or its containers' processes are not seen: volumes as the engine's own walk "
            "says, every 15 minutes; no capacity, no egress and ingress, no TCP",
            fine=False,
            advice="run an exporter beside the engine, with its processes and files: docs/remote.md",
        )
        return
    yield host_network(list(inventory.networks.values()), Path("/proc/self/net/dev").read_bytes())
    yield _volumes(settings.path.rootfs, list(inventory.volumes.values()))
    yield walks(gnu_find())
    yield round_trip_times(held(), wanted=settings.collector.rtt)
    yield quotas(held())


def _traffic(settings: Settings, inventory: Inventory) -> Finding:
    procfs = ProcfsSource(settings.path.procfs)
    choice = choose_source(settings.network.source, inventory, procfs.sees)
    if choice.source == "engine":
        return Finding(
            "Traffic counters",
            f"engine's stats API: {choice.reason}",
            fine=False,
            advice="it tells no errors, is slower, and can't split a container's traffic by network: give the "
            "exporter the host's process namespace (docker run --pid=host), or mount the host's /proc and set "
            "--path.procfs",
        )
    owners = namespace_owners(inventory.containers.values())
    seen = sum(map(procfs.sees, owners))
    if seen < len(owners):
        return Finding(
            "Traffic counters",
            f"procfs: only {seen} of {len(owners)} containers' processes are seen in {settings.path.procfs}",
            fine=False,
            advice="mount the host's /proc and set --path.procfs, or use --network.source=engine",
        )
    return Finding("Traffic counters", f"procfs: {choice.reason}", fine=True)


def host_network(networks: Sequence[Network], net_dev: bytes) -> Finding:
    """Whether the exporter is in the engine's network namespace: the bridges of its networks are there."""
    if in_host_namespace(networks, parse_net_dev(net_dev)) is not False:
        return Finding("Host network namespace", "yes", fine=True)
    return Finding(
        "Host network namespace",
        "no: the last traffic of containers that end is lost, up to one poll; no egress and ingress",
        fine=False,
        advice="run the exporter in the host's network namespace (docker run --network=host)",
    )


def _volumes(rootfs: Path, volumes: Sequence[Volume]) -> Finding:
    # Only directories of the local driver without options: a look at a dead nfs mount would hang.
    plain = [volume for volume in volumes if volume.driver == "local" and not volume.options]
    readable = sum(os.access(rootfs / volume.mountpoint.lstrip("/"), os.R_OK | os.X_OK) for volume in plain)
    text = f"{readable} of {len(plain)} local volumes are readable under {rootfs}"
    if readable == len(plain):
        return Finding("Volumes", text, fine=True)
    return Finding(
        "Volumes",
        text,
        fine=False,
        advice="run as root or with CAP_DAC_READ_SEARCH; in a container also mount the volumes' directory "
        "read-only with rslave propagation and set --path.rootfs",
    )


def walks(find: str | None) -> Finding:
    """Whether large volumes are walked at the least cost."""
    if find is not None:
        return Finding("Walks of large volumes", find, fine=True)
    return Finding(
        "Walks of large volumes",
        "no GNU find: they take half as much processor time again",
        fine=False,
        advice="install findutils",
    )


def round_trip_times(rights: frozenset[str], *, wanted: bool) -> Finding:
    """Whether containers' network namespaces can be entered to look at their connections."""
    subject = "Round-trip times"
    if "CAP_SYS_ADMIN" not in rights:
        return Finding(
            subject,
            "can't be told: that needs CAP_SYS_ADMIN",
            fine=False if wanted else None,
            advice="for --collector.rtt run as root or with CAP_SYS_ADMIN, and with CAP_SYS_PTRACE for containers "
            "that run as other users",
        )
    if "CAP_SYS_PTRACE" not in rights:
        return Finding(
            subject,
            "only of containers that run as this user: others need CAP_SYS_PTRACE",
            fine=False if wanted else None,
            advice="for --collector.rtt add CAP_SYS_PTRACE",
        )
    return Finding(subject, "--collector.rtt" if wanted else "can be told, with --collector.rtt", fine=True)


def quotas(rights: frozenset[str]) -> Finding:
    """Whether the kernel tells what a project quota counts."""
    if "CAP_SYS_ADMIN" in rights:
        return Finding("Usage by quotas", "told by the kernel", fine=True)
    return Finding(
        "Usage by quotas",
        "not told without CAP_SYS_ADMIN: volumes with a project quota are walked as others are",
        advice="add CAP_SYS_ADMIN if they are large",
    )
