"""Log lines: short fixed events with fields, as logfmt or JSON, to standard error."""

import logging
import re
import sys
from types import TracebackType
from typing import Literal, TextIO

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

_LONGEST_VALUE = 1000
_LONGEST_TRACE = 20_000
_UNPRINTABLE = re.compile(r"[^ -~\n]")


def configure(level: str, form: Literal["logfmt", "json"], stream: TextIO | None = None) -> None:
    """Set up structlog, and send what libraries log through `logging` the same way from warnings on.

    Names, labels and answers of others are among the fields: a line stays one line, of bounded length.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        _shortened,
    ]
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        shared.append(_printable)  # the renderer escapes quotes and line feeds alone
        renderer = structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"], bool_as_flag=False)
    target = stream or sys.stderr
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)
    sys.excepthook = _log_end


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Give a logger that follows `configure`, also when it was made before."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger


def _shortened(_logger: object, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut long values, and say how long they were."""
    for key, value in fields.items():
        longest = _LONGEST_TRACE if key == "exception" else _LONGEST_VALUE
        if isinstance(value, str) and len(value) > longest:
            fields[key] = f"{value[:longest]}... ({len(value)} characters)"
    return fields


def _printable(_logger: object, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Write as escapes what could end a line for some reader, or drive a terminal."""
    for key, value in fields.items():
        if isinstance(value, str) and not value.isprintable():
            fields[key] = _UNPRINTABLE.sub(_escaped, value)
    return fields


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell what ends the process in one line with its innermost reason; Python then exits with code 1."""
    innermost = error
    while isinstance(innermost, BaseExceptionGroup):
        innermost = innermost.exceptions[0]
    reason = f"{type(innermost).__name__}: {innermost}"
    get_logger().error("the exporter ended", reason=reason, exc_info=(kind, error, trace))
