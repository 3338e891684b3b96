"""Where settings come from: one TOML file, and over it the environment."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from etl.config.faults import SECRET_KEYS, Fault, unknown
from etl.config.faults import Path as KeyPath
from etl.config.model import FeedSettings, Tables
from etl.config.secret import why_unreadable
from etl.errors import ConfigError

PREFIX = "STP_ETL__"
FILE_VARIABLE = "STP_ETL_CONFIG"
MISSPELT = re.compile(r"STP_ETL_(?!_)[^_].*__.*|STP_?ETL__.*", re.IGNORECASE)
USUAL_FILES = (Path("config/stp-etl.toml"), Path("/etc/stp-etl/stp-etl.toml"))

Table = dict[str, Any]


@dataclass
class Raw:
    """The settings as they were written, before anyone checked them."""

    tables: Table
    file: Path | None
    named: bool = True  # the file, by option or environment; else it was found in one of the usual places
    origins: dict[KeyPath, str] = field(default_factory=dict)  # key -> environment variable that set it
    variables: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def told(self) -> str | None:
        """Return the file as an error names it; one that nobody named may not be the one that was meant."""
        if self.file is None:
            return None
        hint = "" if self.named else f" (found there; another one: --config FILE or {FILE_VARIABLE})"
        return f"{self.file}{hint}"


def read(path: Path | None, environ: Mapping[str, str]) -> Raw:
    """Return what the file and the environment say; raise ConfigError when the file is missing or is not TOML."""
    file = file_to_read(path, environ)
    raw = Raw(tables=toml_in(file) if file else {}, file=file, named=bool(path or environ.get(FILE_VARIABLE)))
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    for name in sorted(given):
        overlay(raw, name, given[name])
    wrong = [name for name in environ if name not in given and MISSPELT.fullmatch(name)]
    raw.faults += [Fault((name,), f"must be {PREFIX}SECTION__KEY; it would set nothing") for name in sorted(wrong)]
    return raw


def file_to_read(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file asked for by option or environment, else the first of the usual ones that exists."""
    if path is None and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
    return path or next((usual for usual in USUAL_FILES if usual.is_file()), None)


def toml_in(file: Path) -> Table:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise ConfigError([f"{file}: {why_unreadable(error)}"]) from error
    except ValueError as error:  # TOMLDecodeError, and numbers too long for Python
        raise ConfigError([f"{file}: is not TOML: {error}"]) from error


def overlay(raw: Raw, name: str, text: str) -> None:
    """Set the one key that the variable `name` means; note a fault when no key has that name."""
    parts = tuple(part.lower() for part in name[len(PREFIX) :].split("__"))
    if len(parts) < 2 or not all(parts):
        raw.faults.append(Fault((name,), f"must be {PREFIX}SECTION__KEY"))
        return
    model, path, rest = section_of(raw, parts)
    if model is None or not rest or rest[0] not in model.model_fields:
        known = model.model_fields if model and rest else Tables.model_fields
        fault = unknown((*path, *rest[:1]), known)
        raw.faults.append(fault)
        raw.origins[fault.path] = name
        return
    table = table_at(raw, path)
    if table is not None:
        put(raw, table, (*path, *rest), value_from(text, model.model_fields[rest[0]].annotation, rest[1:]), name)


def section_of(raw: Raw, parts: KeyPath) -> tuple[type[BaseModel] | None, KeyPath, KeyPath]:
    """Return the model that the parts lead to, the way to it in the file's own spelling, and what is left."""
    section, *rest = parts
    if section == "feeds":
        feeds = raw.tables.get("feeds")
        names = feeds if isinstance(feeds, dict) else {}
        found = next((name for name in names if variable_part(name) == rest[0]), rest[0])
        return FeedSettings, (section, found), tuple(rest[1:])
    annotation = Tables.model_fields[section].annotation if section in Tables.model_fields else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, (section,), tuple(rest)
    return None, (), parts


def variable_part(feed: str) -> str:
    """Return the feed's name as it can stand in a variable's name, lower case."""
    return feed.lower().replace("-", "_")


def table_at(raw: Raw, path: KeyPath) -> Table | None:
    """Return the table at `path`, made where it is absent; None where the file has something else in its place."""
    table = raw.tables
    for part in path:
        following = table.setdefault(part, {})
        if not isinstance(following, dict):
            return None
        table = following
    return table


def put(raw: Raw, table: Table, path: KeyPath, value: object, name: str) -> None:
    """Store the value; a secret given by the environment replaces the file's, whichever form either has."""
    depth = 2 if path[0] == "feeds" else 1
    key, inner = path[depth], path[depth + 1 :]
    twin = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
    if {key, twin} & SECRET_KEYS and (*path[:depth], twin) not in raw.origins:
        table.pop(twin, None)
    if inner:
        nested = table.setdefault(key, {})
        if isinstance(nested, dict):
            nested["__".join(inner)] = value
    else:
        table[key] = value
    raw.origins[path] = name
    raw.variables.append(name)


def value_from(text: str, annotation: object, inner: KeyPath) -> object:
    """Return the text as the type that the key wants, or unchanged when it cannot be that, for the check to find."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    origin = get_origin(annotation)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return value_from(text, get_args(annotation)[1], ()) if inner else json_or(text, text)
    if origin is tuple:
        return json_or(text, listed(text)) if text.lstrip().startswith("[") else listed(text)
    if annotation is bool:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower(), text)
    if annotation is int or annotation is float:
        return number_from(text, annotation)
    return text


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def json_or(text: str, otherwise: object) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return otherwise


def number_from(text: str, kind: type[int] | type[float]) -> object:
    try:
        return kind(text)
    except ValueError:
        return text
