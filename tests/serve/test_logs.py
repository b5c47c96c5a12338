"""How the server logs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from imageproxy._server.logs import set_up_logs


@contextmanager
def fresh_logging() -> Iterator[None]:
    """Logging as it is when a program starts."""
    loggers = (logging.root, logging.getLogger("uvicorn"))
    before = [(logger.level, logger.handlers) for logger in loggers]
    logging.root.handlers = []
    try:
        yield
    finally:
        for logger, (level, handlers) in zip(loggers, before, strict=True):
            logger.setLevel(level)
            logger.handlers = handlers


def test_a_line_of_text_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("imageproxy.test")
    with fresh_logging():
        set_up_logs("text")
        log.info("it says %s", "a\nb\x1b[31m")
        log.info("plain: %s", "ümlaut")
        log.debug("too much")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("+00:00 INFO imageproxy.test: it says a\\nb\\x1b[31m")
    assert second.endswith(" INFO imageproxy.test: plain: ümlaut")


def test_a_line_of_json_has_what_was_told_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("imageproxy.test")
    with fresh_logging():
        set_up_logs("json")
        try:
            raise ValueError("a\nb")
        except ValueError:
            log.exception("failed", extra={"did": "did:plc:a", "what": object})
        log.warning("second")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("error", "imageproxy.test", "failed")
    assert (first["did"], first["what"]) == ("did:plc:a", "<class 'object'>")
    assert first["exception"].endswith("ValueError: a\nb")
    assert list(second) == ["time", "level", "logger", "message"]
