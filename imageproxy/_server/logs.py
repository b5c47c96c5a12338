"""The server's log: a line for each event, in text for people or in JSON for programs, on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Literal

__all__ = ["LogFormat", "set_up_logs"]

LogFormat = Literal["text", "json"]

# What a record has that no one put there.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logs(format_: LogFormat) -> None:
    """Log all from INFO on. Changes the logging of the process: for programs alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JSON() if format_ == "json" else _Text())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # it tells of its own start and end


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


class _Text(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name it has in the standard library
        # What comes from clients and servers must not begin a line of its own, nor colour the terminal.
        message = record.message.encode("unicode_escape").decode("ascii") if _is_odd(record.message) else record.message
        return f"{_time(record)} {record.levelname} {record.name}: {message}"


class _JSON(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _OWN},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _is_odd(text: str) -> bool:
    return not text.isprintable()
