"""Log lines: short fixed events with fields, as logfmt or JSON, to standard error."""

import logging
import sys
from types import TracebackType
from typing import Literal, TextIO

import structlog

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}


def configure(level: str, form: Literal["logfmt", "json"], stream: TextIO | None = None) -> None:
    """Set up structlog, and send what libraries log through `logging` the same way from warnings on."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
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


def _log_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell what ends the process in one line with its innermost reason; Python then exits with code 1."""
    innermost = error
    while isinstance(innermost, BaseExceptionGroup):
        innermost = innermost.exceptions[0]
    reason = f"{type(innermost).__name__}: {innermost}"
    get_logger().error("the exporter ended", reason=reason, exc_info=(kind, error, trace))
