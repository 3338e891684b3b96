"""Read the settings once, check them all, and freeze them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from etl.config.alerts import AlertSettings
from etl.config.checks import contradictions_in, open_secret_files, unknown_aliases, warnings_about
from etl.config.faults import Fault, dotted, fault_from
from etl.config.faults import Path as KeyPath
from etl.config.model import (
    BookingSettings,
    DatabaseSettings,
    FeedSettings,
    OpsSettings,
    PublishSettings,
    ReconciliationSettings,
    RetentionSettings,
    Tables,
    TradingSettings,
)
from etl.config.secret import MASK, Secret, without_credentials
from etl.config.sources import Raw, read
from etl.config.values import Section, origin_of
from etl.errors import ConfigError

DEFAULT = "default"


@dataclass(frozen=True)
class Source:
    """Where the settings came from: the file, if one was found, and the environment variables used."""

    file: Path | None
    variables: tuple[str, ...]


@dataclass(frozen=True)
class ShownKey:
    """A key as it may be shown: secrets masked; `origin` is a file, an environment variable, or `default`."""

    value: object
    origin: str


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, checked; `warnings` are sentences about what is allowed but probably not meant."""

    database: DatabaseSettings
    feeds: Mapping[str, FeedSettings]
    booking: BookingSettings
    reconciliation: ReconciliationSettings
    publish: PublishSettings
    trading: TradingSettings
    ops: OpsSettings
    retention: RetentionSettings
    alerts: AlertSettings
    source: Source
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def required_feeds(self) -> Mapping[str, FeedSettings]:
        """Return all feeds; raise ConfigError when there is none."""
        if not self.feeds:
            raise ConfigError(["feeds: none is configured; add a table [feeds.NAME], see config/stp-etl.toml"])
        return self.feeds

    def feed(self, name: str | None) -> FeedSettings:
        """Return the feed called `name`, or the only one; raise ConfigError when that names none or not one."""
        feeds = self.required_feeds()
        if name is None and len(feeds) == 1:
            return next(iter(feeds.values()))
        if name is None:
            raise ConfigError([f"there are {len(feeds)} feeds; name one: --feed {'|'.join(feeds)}"])
        if name not in feeds:
            near = get_close_matches(name, list(feeds), n=1)
            known = f"did you mean {near[0]}?" if near else f"the settings know: {', '.join(feeds)}"
            raise ConfigError([f"feeds.{name}: no such feed; {known}"])
        return feeds[name]

    def shown(self) -> dict[str, ShownKey]:
        """Return every key by its path, with its value, secrets masked, and its origin."""
        return {
            dotted(path): ShownKey(showable(path, value), self.origins.get(dotted(path), DEFAULT))
            for path, value in keys_of(self)
        }

    def settings_hash(self) -> str:
        """Return a SHA-256 in hex over every key; the same on any machine.

        Of a secret counts whether it is set and the file that is named for it, never its value; of an address with one
        in it what may be seen: of a database all but the password, of a webhook scheme, host and port.
        """
        content = {dotted(path): canonical(countable(path, value)) for path, value in keys_of(self)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(
    path: Path | None, environ: Mapping[str, str], *, field_names: Collection[str] = (), feeds: bool = True
) -> Settings:
    """Return the settings from the file (`path`, else the search order of design.md, section 7) and the environment.

    `field_names` are the canonical fields that may have aliases; without them any is taken. Without `feeds` those
    are left out, so that the database can be looked at where their secrets are not at hand. Raises ConfigError with
    every fault that was found, one line each; secrets are never part of a line.
    """
    raw = read(path, environ)
    if not feeds:
        raw.tables.pop("feeds", None)
    faults, warnings = open_secret_files(raw)
    faults += [*raw.faults, *contradictions_in(raw), *unknown_aliases(raw, field_names)]
    try:
        tables = Tables.model_validate(raw.tables)
    except ValidationError as error:
        faults += [fault_from(found, known_keys(found["loc"])) for found in error.errors()]
        raise ConfigError(lines_of(faults, raw), raw.told) from error
    if faults:
        raise ConfigError(lines_of(faults, raw), raw.told)
    return frozen(tables, raw, (*warnings, *warnings_about(raw)))


def lines_of(faults: list[Fault], raw: Raw) -> list[str]:
    """Return the faults as lines, by path; of two about one key only the first."""
    first: dict[KeyPath, Fault] = {}
    for fault in faults:
        first.setdefault(fault.path, fault)
    return [first[path].line(raw.origins) for path in sorted(first)]


def known_keys(place: tuple[int | str, ...]) -> Mapping[str, FieldInfo]:
    """Return the keys of the table in which a fault was found."""
    match place:
        case ("feeds", _, _, *_):
            return FeedSettings.model_fields
        case (str(section), _, *_) if section in Tables.model_fields:
            annotation = Tables.model_fields[section].annotation
            return annotation.model_fields if isinstance(annotation, type(Section)) else {}
        case _:
            return Tables.model_fields


def frozen(tables: Tables, raw: Raw, warnings: tuple[str, ...]) -> Settings:
    for name, feed in tables.feeds.items():
        feed._name = name
    for _, value in keys_of(tables):
        if isinstance(value, Secret):
            value.reveal()  # makes it known to the redaction before the first log line
    return Settings(
        database=tables.database,
        feeds=MappingProxyType(dict(tables.feeds)),
        booking=tables.booking,
        reconciliation=tables.reconciliation,
        publish=tables.publish,
        trading=tables.trading,
        ops=tables.ops,
        retention=tables.retention,
        alerts=tables.alerts,
        source=Source(raw.file, tuple(raw.variables)),
        origins=MappingProxyType(origins_of(tables, raw)),
        warnings=warnings,
    )


def keys_of(settings: Settings | Tables) -> Iterator[tuple[KeyPath, object]]:
    """Yield every key with its path, section by section, in the order of the model."""
    sections: list[tuple[KeyPath, Section]] = [
        (("database",), settings.database),
        *((("feeds", name), feed) for name, feed in settings.feeds.items()),
        (("booking",), settings.booking),
        (("reconciliation",), settings.reconciliation),
        (("publish",), settings.publish),
        (("trading",), settings.trading),
        (("ops",), settings.ops),
        (("retention",), settings.retention),
        (("alerts",), settings.alerts),
    ]
    for path, section in sections:
        yield from (((*path, key), getattr(section, key)) for key in type(section).model_fields)


def origins_of(tables: Tables, raw: Raw) -> dict[str, str]:
    """Return for every key that was given who gave it: the file or the variable."""
    origins: dict[str, str] = {}
    for path, _ in keys_of(tables):
        variables = [name for place, name in raw.origins.items() if place[: len(path)] == path]
        if variables:
            origins[dotted(path)] = ", ".join(variables)
        elif in_tables(raw, path) and raw.file is not None:
            origins[dotted(path)] = str(raw.file)
    return origins


def in_tables(raw: Raw, path: KeyPath) -> bool:
    table: object = raw.tables
    for part in path:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def countable(path: KeyPath, value: object) -> object:
    """Return what of the value tells settings apart and reveals nothing."""
    if isinstance(value, Secret) and path == ("alerts", "url"):
        return origin_of(value.reveal())
    return showable(path, value)


def showable(path: KeyPath, value: object) -> object:
    """Return the value with secrets masked: of a database's address only the password, of all else everything."""
    match value:
        case Secret():
            return without_credentials(value.reveal()) if path[-1] == "url" and path[0] != "alerts" else MASK
        case str():
            return without_credentials(value)
        case _:
            return value


def canonical(value: object) -> object:
    """Return the value as JSON can hold it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return int(value) if value.is_integer() else value
        case Mapping():
            return {str(key): canonical(item) for key, item in value.items()}
        case tuple() | list():
            return [canonical(item) for item in value]
        case _:
            return str(value)
