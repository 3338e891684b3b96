"""Log lines: one event a line, UTC, readable by machines, and without a secret in them."""

import io
import json
import logging
import re
from contextlib import suppress

import pytest
import structlog

from etl import log
from etl.config import KNOWN_SECRETS, MASK, Secret

SECRET = 'pa"ss wörd\\1'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before():
    """Give pytest its handlers back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def a_stream(level: str = "info", fmt: log.Format = "auto") -> io.StringIO:
    stream = io.StringIO()
    log.configure(level, fmt, stream)
    return stream


def test_an_event_is_one_json_line_with_its_context_in_utc():
    stream = a_stream()
    structlog.contextvars.bind_contextvars(feed="main")

    structlog.get_logger("x").info("poll.landed", messages=3)

    (line,) = lines(stream)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", str(line.pop("timestamp")))
    assert line == {"event": "poll.landed", "level": "info", "feed": "main", "messages": 3}


def test_what_is_below_the_level_is_not_written():
    stream = a_stream("warning")

    structlog.get_logger().info("job.finished")
    structlog.get_logger().warning("job.deferred")

    assert [line["event"] for line in lines(stream)] == ["job.deferred"]


def test_libraries_write_the_same_lines():
    stream = a_stream()
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler(stream))
    log.configure("info", "auto", stream)

    logging.getLogger("uvicorn.error").info("started on %s", "127.0.0.1")
    logging.getLogger("apscheduler.executors.default").info("running a job")

    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("started on 127.0.0.1", "uvicorn.error", "info")


def test_a_terminal_gets_lines_for_people():
    stream = Terminal()
    log.configure("info", "auto", stream)

    structlog.get_logger().info("poll.landed", messages=3)

    assert "poll.landed" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_no_character_of_the_vendors_text_moves_the_cursor_of_a_terminal():
    stream = a_stream("info", "console")
    logger, evil = structlog.get_logger(), "a\x1b[2J\x9b2J\u202eb\r"

    logger.warning("drift.new_field", field=evil, many=[evil], told={evil: evil})
    logging.getLogger("library").warning("came: %s", evil)
    try:
        raise ValueError(evil)
    except ValueError:
        logger.exception("job.failed")

    said = stream.getvalue()
    assert said.count("a\\x1b[2J\\x9b2J\\u202eb\\r") >= 5
    assert all(line.isprintable() for line in said.splitlines())
    assert "Traceback (most recent call last):\n" in said


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_known_secrets_are_masked_wherever_they_turn_up(fmt):
    stream = a_stream("info", fmt)
    assert Secret(SECRET).reveal() == SECRET
    logger = structlog.get_logger()

    logger.info(f"login with {SECRET}", url=f"https://h/?p={SECRET}", deep=[{"a": (SECRET, {SECRET: 1})}])
    logger.info("body", body=json.dumps({"pass": SECRET}), raw=SECRET.encode(), error=ValueError(SECRET))
    logging.getLogger("urllib3").warning("sent %r", SECRET)
    try:
        try:
            int(SECRET)
        except ValueError as error:
            raise LookupError(SECRET) from error
    except LookupError:
        logger.exception("job.failed")

    text = stream.getvalue()
    assert "job.failed" in text
    assert MASK in text
    assert not re.search("w(ö|\\\\u00f6|\\\\xf6|%C3%B6)rd", text)


def test_values_of_telling_names_are_masked():
    stream = a_stream()

    structlog.get_logger().info(
        "x", password="a", SSO_TOKEN="b", headers={"Authorization": "c", "Set-Cookie": ["d"], "Accept": "e"}, tokens=3
    )

    (line,) = lines(stream)
    assert (line["password"], line["SSO_TOKEN"], line["tokens"]) == (MASK, MASK, 3)
    assert line["headers"] == {"Authorization": MASK, "Set-Cookie": MASK, "Accept": "e"}


def test_passwords_in_addresses_are_masked_though_nobody_named_them():
    stream = a_stream()

    structlog.get_logger().info("x", a="postgresql://stp:hidden@db/stp", b="host=db password=hidden user=stp")

    assert "hidden" not in stream.getvalue()
    assert "user=stp" in stream.getvalue()


def test_a_session_token_is_masked_until_many_newer_ones_came():
    KNOWN_SECRETS.pass_by("token-0000")
    assert KNOWN_SECRETS.redacted("x token-0000") == f"x {MASK}"

    for number in range(1, 400):
        KNOWN_SECRETS.pass_by(f"token-{number:04}")

    assert KNOWN_SECRETS.redacted("token-0399 token-0000") == f"{MASK} token-0000"


def test_a_short_secret_does_not_blacken_every_line():
    Secret("a").reveal()

    assert KNOWN_SECRETS.redacted("a day at the bank") == "a day at the bank"


def test_an_exception_is_one_field_with_its_causes():
    stream = a_stream()
    try:
        try:
            int("inner")
        except ValueError as error:
            raise KeyError("outer") from error
    except KeyError:
        structlog.get_logger().exception("job.failed")

    (line,) = lines(stream)
    exceptions = line["exception"]
    assert isinstance(exceptions, list)
    assert [found["exc_type"] for found in exceptions] == ["KeyError", "ValueError"]
    assert all("locals" not in frame for found in exceptions for frame in found["frames"])


def test_anything_can_be_logged():
    stream = a_stream()
    circle: list[object] = []
    circle.append(circle)

    structlog.get_logger().info("x", circle=circle, half="\ud800", line="a\nb", thing=object(), nan=float("nan"))

    assert len(stream.getvalue().splitlines()) == 1
    assert lines(stream)[0]["half"] == "\ud800"


def test_lines_that_cannot_be_written_hold_nobody_up_and_are_never_shown_elsewhere(capsys):
    KNOWN_SECRETS.keep(SECRET)
    with suppress(OSError), open("/dev/full", "w", buffering=1) as disk:  # it is not closed without complaint either
        log.configure("info", "json", disk)
        for _ in range(3):
            structlog.get_logger().error("job.refused", error=f"login as {SECRET}", password="correct-horse")

    assert capsys.readouterr().err == "stp-etl: log lines are lost: no space left on device; the work goes on\n"
