"""How log lines look: one event a line, UTC, JSON or for a terminal, without secrets."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from etl.config.secret import KNOWN_SECRETS, MASK

Format = Literal["auto", "json", "console"]

SECRET_WORDS = ("password", "passwd", "secret", "token", "authorization", "cookie", "credential")
TALKATIVE = ("alembic", "urllib3", "uvicorn.access")  # their info lines say nothing about trades
ALARMED = ("apscheduler",)  # warns of every drain that takes longer than the poll interval; jobs.py logs each run
OTHERS = ("uvicorn", "uvicorn.error", *TALKATIVE, *ALARMED)  # may have brought handlers of their own
DEEPEST = 8  # levels; what lies deeper is written as text


class Lines(logging.StreamHandler[TextIO]):
    """Writes lines; one that cannot be written (a full disk, a reader that went away) holds nobody up."""

    said: str | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002  the library's name
        """Say on stderr that lines are lost, once a reason; never the line itself, which is not masked yet."""
        error = sys.exception()
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        if reason != self.said:
            self.said = reason
            with suppress(OSError, ValueError):
                sys.stderr.write(f"stp-etl: log lines are lost: {reason.lower()}; the work goes on\n")


def configure(level: str, fmt: Format, stream: TextIO) -> None:
    """Send every log line of this process to `stream`, those of libraries too; may be called again.

    `auto` is `console` when the stream is a terminal, else `json`. Where the stream stands in place of another one
    (`behind`), the lines go to that one.
    """
    console = fmt == "console" or (fmt == "auto" and stream.isatty())
    handler = Lines(getattr(stream, "behind", stream))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared_processors()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(console_processors(colours=stream.isatty()) if console else json_processors()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in OTHERS:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET if root.level <= logging.DEBUG else least_of(name))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def least_of(name: str) -> int:
    """Return the level below which the lines of a library are left out; a debug log has them all."""
    return logging.ERROR if name in ALARMED else logging.WARNING if name in TALKATIVE else logging.NOTSET


def shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def json_processors() -> list[Processor]:
    """Return the last steps of a JSON line: an exception is one field, a list with an entry for each cause."""
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(transformer),
        redact,
        structlog.processors.JSONRenderer(serializer=json.dumps),
    ]


def console_processors(*, colours: bool) -> list[Processor]:
    plain = structlog.dev.plain_traceback
    return [
        structlog.processors.format_exc_info,
        redact,
        visible,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain),
    ]


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask what must not leave the process: values of telling names, and known secrets in any text."""
    return {key: redacted(key, value) for key, value in event.items()}


def redacted(key: object, value: Any, depth: int = 0) -> Any:
    """Return `value` as JSON can hold it and without secrets; numbers under a telling name are counts, and stay."""
    match value:
        case None | bool() | int() | float():
            return value
        case _ if is_telling(key):
            return MASK
        case Mapping() if depth < DEEPEST:
            return {KNOWN_SECRETS.redacted(str(name)): redacted(name, item, depth + 1) for name, item in value.items()}
        case list() | tuple() | set() | frozenset() if depth < DEEPEST:
            return [redacted(None, item, depth + 1) for item in value]
        case _:
            return KNOWN_SECRETS.redacted(str(value))


def visible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Write as an escape what could move the cursor: the vendor's words stand in our lines. Lists are escaped later."""
    return {escaped(key): escaped(value) if isinstance(value, str) else value for key, value in event.items()}


def escaped(text: str) -> str:
    """Return the text with each character that is not printable as an escape; lines of a traceback stay lines."""
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


def is_telling(key: object) -> bool:
    name = str(key).lower().replace("-", "_")
    return name == "pass" or any(word in name for word in SECRET_WORDS)
