"""One check of `stp-etl doctor`: its name, how it went, what was seen, what to do; and those of the settings."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from etl.config import FeedSettings, Settings
from etl.config.secret import password_in
from etl.config.values import Section
from etl.domain.words import counted
from etl.errors import OperatorError

MIB = 1024 * 1024


class CheckState(StrEnum):
    """How a check went."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """What one check found. `do` is empty where nothing has to be done."""

    check: str
    state: CheckState
    seen: str
    do: str = ""
    feed: str | None = None


def ok(check: str, seen: str, feed: str | None = None) -> Check:
    """Return a check that found nothing."""
    return Check(check, CheckState.OK, seen, feed=feed)


def warn(check: str, seen: str, do: str, feed: str | None = None) -> Check:
    """Return a check that found something to think about."""
    return Check(check, CheckState.WARN, seen, do, feed)


def fail(check: str, seen: str, do: str, feed: str | None = None) -> Check:
    """Return a check that found what keeps trades from coming, or from being kept."""
    return Check(check, CheckState.FAIL, seen, do, feed)


def of_settings(settings: Settings) -> Iterator[Check]:
    """Yield what the settings themselves and the files that they name are like."""
    file = settings.source.file
    variables = counted(len(settings.source.variables), "environment variable")
    yield ok("settings", f"{file or 'no file'} and {variables} are sound")
    for warning in settings.warnings:
        yield warn("settings", warning, "change it, or leave it where it is meant")
    if not settings.feeds:
        yield fail("settings", "no feed is configured", "add a table [feeds.NAME], see config/stp-etl.toml")
    if settings.database.url is None:
        yield warn("settings", "the embedded database is used", "set database.url for real trades")
    if settings.database.url_file is not None:
        yield _secret_file("database.url_file", settings.database.url_file)
    for name, feed in settings.feeds.items():
        yield from _secrets_of(name, feed)
    if file is not None and holds_secrets(settings, str(file)) and open_to_all(file):
        yield warn("secrets", f"{file} holds secrets and everybody on this machine may read it", f"chmod o-r {file}")


def _secrets_of(name: str, feed: FeedSettings) -> Iterator[Check]:
    for key in ("password", "secret"):
        path, secret = getattr(feed, f"{key}_file"), getattr(feed, key)
        if path is not None:
            yield _secret_file(f"{key}_file", path, name)
        elif secret is not None:
            try:
                secret.reveal()
            except OperatorError as error:
                yield fail("secrets", str(error), f"check feeds.{name}.{key}", name)
            else:
                yield ok("secrets", f"{key} is given", name)


def _secret_file(key: str, path: Path, feed: str | None = None) -> Check:
    try:
        readable = bool(path.read_bytes().strip())
    except OSError as error:
        return fail("secrets", f"{key} = {path}: {error.strerror}", "let the daemon's account read it", feed)
    if not readable:
        return fail("secrets", f"{key} = {path} is empty", "put the secret into it", feed)
    if open_to_all(path):
        return warn("secrets", f"{key} = {path}: everybody on this machine may read it", f"chmod o-r {path}", feed)
    return ok("secrets", f"{key} = {path} is readable", feed)


def open_to_all(path: Path) -> bool:
    """Return whether others than the owner and the group may read the file."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def holds_secrets(settings: Settings, file: str) -> bool:
    """Return whether a secret stands in the settings file itself."""
    return any(settings.origins.get(key) == file for key in _secrets_outside_files(settings))


def _secrets_outside_files(settings: Settings) -> Iterator[str]:
    """Yield the key of each secret that no file of its own holds; a database's address is one by its password."""
    feeds: dict[str, Section] = {f"feeds.{name}": feed for name, feed in settings.feeds.items()}
    databases: dict[str, Section] = {"database": settings.database, "publish": settings.publish}
    for table, section in {**databases, "alerts": settings.alerts, **feeds}.items():
        for key in ("url", "password", "secret"):
            secret = getattr(section, key, None)
            if secret is None or getattr(section, f"{key}_file") is not None:
                continue
            if table not in databases or password_in(secret.reveal()):
                yield f"{table}.{key}"


def room(path: Path, what: str) -> Check:
    """Return how much room is left on the disk of this folder, or of the nearest one above that is there."""
    there = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    usage = shutil.disk_usage(there)
    if usage.total == 0:  # some network file systems
        return warn("disk", f"{what} {path}: it does not say how much room there is", "watch the disk by other means")
    share = usage.free / usage.total
    seen = f"{what} {path}: {usage.free // MIB:,} MiB free, {share:.0%}"
    if usage.free < 500 * MIB or share < 0.02:
        return fail("disk", seen, "make room: a full database takes no trades, so none are asked for")
    return warn("disk", seen, "make room soon") if share < 0.1 else ok("disk", seen)


def worst(checks: Iterable[Check]) -> CheckState:
    """Return the worst state of all."""
    states = {each.state for each in checks}
    return next((state for state in (CheckState.FAIL, CheckState.WARN) if state in states), CheckState.OK)
