"""Every flag with its environment variable, default, help and check; nothing else reads the command line."""

import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliDualFlag,
    CliPositionalArg,
    CliToggleFlag,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from exporter.inventory.sizes import parse_size
from exporter.inventory.visibility import label_name

DEFAULT_PORT = 10420
"""Ports 9100 to 9999 are all allocated in Prometheus' list of exporters."""

ENVIRONMENT_PREFIX = "NETVOL_"

REVISION_VARIABLE = "NETVOL_EXPORTER_REVISION"
"""No setting: the image tells by it which revision of the source it was made from."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_DURATION_PARTS = re.compile(rf"({_NUMBER})(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_DURATION_PARTS.pattern})+")
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535


class UsageError(Exception):
    """Unusable flags or environment; the message is one line for the user."""


class Duration(float):
    """A duration in seconds that reads and prints itself as `1m30s`."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read `5s`, `1m30s`, `100ms`, `2h`, `1d` or plain seconds.

        Raises PydanticCustomError, which names the allowed forms, for anything else, also for a negative one.
        """
        text = str(value).strip()
        if re.fullmatch(_NUMBER, text):
            return cls(float(text))
        if _DURATION.fullmatch(text):
            return cls(sum(float(n) * _SECONDS[unit] for n, unit in _DURATION_PARTS.findall(text)))
        raise PydanticCustomError("duration", "a duration such as 5s, 1m30s or 100ms, or seconds")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)

    def __str__(self) -> str:
        rest, text = round(self * 1000), ""
        for unit in ("d", "h", "m", "s", "ms"):
            count, rest = divmod(rest, round(_SECONDS[unit] * 1000))
            text += f"{count}{unit}" if count else ""
        return text or "0s"

    __repr__ = __str__


class ListenAddress(str):
    """`HOST:PORT`, `[IPV6]:PORT` or `:PORT` for all addresses of the host."""

    __slots__ = ("host", "port")

    host: str | None
    port: int

    def __new__(cls, value: str) -> Self:
        """Raise PydanticCustomError, which names the allowed forms, if it is no address."""
        match = _ADDRESS.fullmatch(value.strip())
        if match is None or not 0 <= int(match["port"]) <= _LAST_PORT:
            raise PydanticCustomError("address", "HOST:PORT, [IPV6]:PORT or :PORT, the port from 0 to 65535")
        address = super().__new__(cls, value.strip())
        address.host = match["ipv6"] or match["host"] or None
        address.port = int(match["port"])
        return address

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class NamePattern(str):
    """A regular expression for a whole name."""

    __slots__ = ("compiled",)

    compiled: re.Pattern[str]

    def __new__(cls, value: str) -> Self:
        """Raise PydanticCustomError, which says where it is wrong, if it is no regular expression."""
        try:
            with warnings.catch_warnings(action="ignore"):  # of what may mean something else in later versions
                compiled = re.compile(value)
        except re.error as error:
            position = "" if error.pos is None else f" at position {error.pos}"
            raise PydanticCustomError(
                "pattern", "a regular expression; {why}", {"why": f"{error.msg}{position}"}
            ) from None
        except (OverflowError, RecursionError) as error:
            raise PydanticCustomError("pattern", "a regular expression; {why}", {"why": str(error)}) from None
        pattern = super().__new__(cls, value)
        pattern.compiled = compiled
        return pattern

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class DeclaredCapacity(str):
    """`NAME=SIZE`: the capacity of the volumes whose whole name matches a regular expression."""

    __slots__ = ("bytes", "name")

    name: NamePattern
    bytes: int

    def __new__(cls, value: str) -> Self:
        """Raise PydanticCustomError, which names the allowed forms, if it is no name and size."""
        name, separator, size = value.rpartition("=")
        if not separator or not name:
            raise PydanticCustomError("capacity", "NAME=SIZE, for instance pgdata=50GB")
        declared = super().__new__(cls, value)
        declared.name = NamePattern(name)
        try:
            declared.bytes = parse_size(size)
        except ValueError as error:
            raise PydanticCustomError("capacity", "as SIZE {forms}", {"forms": str(error)}) from None
        return declared

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema())


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WebSettings(_Section):
    """Where and how the page is served."""

    listen_address: list[ListenAddress] = Field(
        default=[ListenAddress(f":{DEFAULT_PORT}")],
        min_length=1,
        description="Address to listen on; repeatable.",
    )
    telemetry_path: str = Field(
        default="/metrics",
        pattern=r"^/(?:[A-Za-z0-9._][A-Za-z0-9/._-]*)?$",
        description="Path of the metrics page; not below /-/.",
    )

    max_requests: int = Field(
        default=40,
        ge=1,
        description="Requests for the metrics page that are answered at a time; further ones get a 503.",
    )


class LimitSettings(_Section):
    """Bounds of what is shown."""

    series: int = Field(
        default=0,
        ge=0,
        description="Series that the page has at most, 0 for any number; per-container families are left out "
        "first, those of networks and volumes never.",
    )


class EngineSettings(_Section):
    """How the Docker engine is reached."""

    host: str = Field(
        default="",
        description="The engine's address: unix://PATH, tcp://HOST:PORT or ssh://USER@HOST; "
        "by default what the docker client would use (DOCKER_HOST, context, /var/run/docker.sock).",
    )
    tls_ca: Path | None = Field(
        default=None,
        description="PEM file with the certificate authority of an engine at tcp://; by default ca.pem in "
        "DOCKER_CERT_PATH if DOCKER_TLS_VERIFY is set, as of the docker client.",
    )
    tls_cert: Path | None = Field(
        default=None, description="PEM file with the certificate that the exporter shows to the engine."
    )
    tls_key: Path | None = Field(
        default=None, description="PEM file with the key of that certificate, if it is not in the same file."
    )

    @field_validator("tls_key")
    @classmethod
    def _of_a_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key is not None and info.data.get("tls_cert") is None:
            raise PydanticCustomError("tls", "a key together with its certificate, --engine.tls-cert")
        return key


class PollSettings(_Section):
    """How often counters are read."""

    interval: Duration = Field(
        default=Duration(5), ge=0.1, description="Time between two reads of the traffic counters."
    )


class VolumeSettings(_Section):
    """How volumes are measured."""

    interval: Duration = Field(
        default=Duration(60),
        ge=1,
        description="Time between two measurements of volumes that are cheap to measure.",
    )
    max_age: Duration = Field(
        default=Duration(3600),
        ge=1,
        description="Time after which also a volume that no running container can write to is measured again.",
    )
    max_share: float = Field(
        default=0.05, gt=0, le=1, description="Largest share of the time that walking volumes may take."
    )
    timeout: Duration = Field(
        default=Duration(600), ge=1, description="Time after which the walk of a volume is given up."
    )
    capacity: list[DeclaredCapacity] = Field(
        default=[],
        description="NAME=SIZE: capacity of the volumes whose whole name matches this regular expression, such as "
        "pgdata=50GB; the first that matches counts; repeatable. The label netvol.capacity of a volume wins.",
    )
    bind_mounts: NamePattern | None = Field(
        default=None,
        description="Measure bind mounts whose whole destination in the container matches this regular "
        "expression; volume is then their path on the host.",
    )
    engine_df: CliDualFlag[bool] = Field(
        default=True,
        description="Ask the engine for the usage of volumes whose files can't be read here, at most every 15 "
        "minutes.",
    )


class PathSettings(_Section):
    """Where the host's file systems are seen."""

    procfs: Path = Field(default=Path("/proc"), description="Where the host's /proc is.")
    rootfs: Path = Field(default=Path("/"), description="Where the host's / is.")

    @field_validator("procfs", "rootfs")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        if not path.is_absolute():
            raise PydanticCustomError("path", "an absolute path")
        return path


class NetworkSettings(_Section):
    """Which networks are shown, and where traffic counters come from."""

    include: NamePattern | None = Field(
        default=None, description="Show only networks whose whole name matches this regular expression."
    )
    exclude: NamePattern | None = Field(
        default=None, description="Don't show networks whose whole name matches this regular expression."
    )
    source: Literal["auto", "procfs", "engine"] = Field(
        default="auto",
        description="Source of traffic counters: the containers' /proc (exact, costs the engine nothing), the "
        "engine's stats API (remote engines), or the better one that works.",
    )


class ContainerSettings(_Section):
    """Which containers are shown, and what of them."""

    include: NamePattern | None = Field(
        default=None,
        description="Show only containers whose whole name matches this regular expression; the others still "
        "count in their networks' totals.",
    )
    exclude: NamePattern | None = Field(
        default=None,
        description="Don't show containers whose whole name matches this regular expression; they still count in "
        "their networks' totals.",
    )
    labels: list[str] = Field(
        default=[],
        description="Label of containers that is shown in docker_container_info as label_NAME; repeatable. No "
        "other is shown.",
    )

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str]) -> list[str]:
        names = [label_name(label) for label in labels]
        if len(set(names)) < len(names):
            raise PydanticCustomError("labels", "labels that differ in their letters, digits and underscores")
        return labels


class CollectorSettings(_Section):
    """Which optional collectors run."""

    tcp: CliDualFlag[bool] = Field(
        default=True, description="TCP segments, retransmissions, overflows and connections of each container."
    )
    rtt: CliDualFlag[bool] = Field(
        default=False,
        description="Round-trip times of established TCP connections per network, as a histogram; needs "
        "CAP_SYS_ADMIN.",
    )


class LogSettings(_Section):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warn", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )
    format: Literal["logfmt", "json"] = Field(default="logfmt", description="Form of the log lines.")


class _Environment(EnvSettingsSource):
    """The environment, where a list may be written with commas as well as in JSON."""

    def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
            return [item.strip() for item in value.split(",")]
        return super().decode_complex_value(field_name, field, value)


class Settings(BaseSettings):
    """Prometheus exporter for Docker networks and volumes.

    Each flag is also an environment variable: --poll.interval is NETVOL_POLL_INTERVAL. A flag wins.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        cli_prog_name="netvol-exporter",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_use_class_docs_for_groups=True,
        cli_exit_on_error=False,
    )

    command: CliPositionalArg[Literal["serve", "check", "completion"]] = Field(
        default="serve",
        description="serve: run the exporter. check: print what can and can't be seen from here, and why. "
        "completion: print what a shell needs to complete these flags.",
    )
    shell: CliPositionalArg[Literal["bash", "zsh", "fish"] | None] = Field(
        default=None, validate_default=True, description="The shell of completion: bash, zsh or fish."
    )
    once: CliToggleFlag[bool] = Field(default=False, description="Print the page once and exit.")
    version: CliToggleFlag[bool] = Field(default=False, description="Print the version and exit.")
    web: WebSettings = WebSettings()
    engine: EngineSettings = EngineSettings()
    poll: PollSettings = PollSettings()
    network: NetworkSettings = NetworkSettings()
    container: ContainerSettings = ContainerSettings()
    volume: VolumeSettings = VolumeSettings()
    collector: CollectorSettings = CollectorSettings()
    path: PathSettings = PathSettings()
    limit: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()

    @field_validator("shell")
    @classmethod
    def _of_completion(cls, shell: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("command") == "completion" and shell is None:
            raise PydanticCustomError("shell", "bash, zsh or fish")
        if info.data.get("command") != "completion" and shell is not None:
            raise PydanticCustomError("shell", "flags, such as --log.level=debug")
        return shell

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's protocol
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take flags first, then the environment; no files."""
        return init_settings, _Environment(settings_cls)


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag as the user writes it, for checks and for the documentation."""

    name: str
    help: str
    default: str
    repeatable: bool
    choices: tuple[str, ...] = ()
    is_path: bool = False
    is_switch: bool = False


def flags() -> dict[str, Flag]:
    """All flags that have an environment variable, by that variable's name."""
    found: dict[str, Flag] = {}
    for section, field in Settings.model_fields.items():
        model = field.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            continue
        for option, what in model.model_fields.items():
            kind = what.annotation
            repeatable = get_origin(kind) is list
            default = ", ".join(map(str, what.default)) if repeatable else str(what.default or "")
            found[f"{ENVIRONMENT_PREFIX}{section}_{option}".upper()] = Flag(
                f"--{section}.{option.replace('_', '-')}",
                what.description or "",
                default,
                repeatable,
                choices=get_args(kind) if get_origin(kind) is Literal else (),
                is_path=Path in (kind, *get_args(kind)),
                is_switch=kind is bool,
            )
    return found


def load(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from flags and environment.

    Raises UsageError with one line that names the flag, the value and what is allowed. `--help` prints and
    raises SystemExit(0).
    """
    known = {variable: flag.name for variable, flag in flags().items()}
    for name in environment:
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known and name != REVISION_VARIABLE:
            raise UsageError(f"unknown environment variable {name}; allowed are {', '.join(sorted(known))}")
    try:
        return CliApp.run(Settings, cli_args=_quoted_lists(arguments))
    except ValidationError as error:
        raise UsageError(_sentence(error, known)) from None
    except SettingsError as error:
        raise UsageError(_first_line(error)) from None


def _quoted_lists(arguments: Sequence[str]) -> list[str]:
    """Write the values of repeatable flags as JSON, since `[::1]:80` and `a,b` are one value each here."""
    repeatable = {flag.name for flag in flags().values() if flag.repeatable}
    quoted: list[str] = []
    for argument in arguments:
        flag, separator, value = argument.partition("=")
        if separator and flag in repeatable:
            quoted.append(f"{flag}={json.dumps([value])}")
        elif quoted and quoted[-1] in repeatable:
            quoted.append(json.dumps([argument]))
        else:
            quoted.append(argument)
    return quoted


def _sentence(error: ValidationError, known: Mapping[str, str]) -> str:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if not isinstance(part, int)]
    variable = ENVIRONMENT_PREFIX + "_".join(path).upper()
    flag = known.get(variable)
    subject = f"{flag} (or {variable})" if flag else ".".join(path)
    return f"{subject}: {first['input']!r} is not allowed; allowed: {_allowed(first)}"


def _allowed(error: Any) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "literal_error":
            return str(context["expected"]).replace("'", "")
        case "greater_than_equal":
            limit = context["ge"]
            return f"{limit if isinstance(limit, int) else Duration(limit)} or more"
        case "greater_than":
            return f"more than {context['gt']:g}"
        case "less_than_equal":
            return f"{context['le']:g} or less"
        case "string_pattern_mismatch":
            return f"text that matches {context['pattern']}"
        case _:
            return str(error["msg"])


def _first_line(error: SettingsError) -> str:
    text = str(error.__cause__ or error).strip().splitlines()[0]
    return text.removeprefix("error parsing CLI: ")
