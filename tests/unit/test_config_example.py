"""config/stp-etl.toml lists every key that there is, and no other, with its default."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from etl.config import FeedSettings, load
from etl.config.model import Tables
from etl.domain.fields import CANONICAL_NAMES

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "stp-etl.toml"
LINE = re.compile(r"^(?P<unset># )?(?P<key>[a-z_]+) = (?P<value>.*?)(?:\s+#\s*(?P<comment>.*))?$")
TABLES_OF_THEIR_OWN = {"field_aliases", "minor_unit_digits", "tolerance_units"}


def sections() -> dict[str, Any]:
    single = {name: field.annotation for name, field in Tables.model_fields.items() if name != "feeds"}
    return {"feeds.main": FeedSettings, **single}


def keys_of_the_model() -> set[str]:
    return {f"{section}.{key}" for section, model in sections().items() for key in model.model_fields}


def lines_of_the_example() -> dict[str, re.Match[str]]:
    found, section = {}, ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[([a-z_.]+)\]", line):
            section = header[1]
        elif match := LINE.match(line):
            found[f"{section}.{match['key']}"] = match
    return found


def headers_of_the_example() -> set[str]:
    return set(re.findall(r"^\[([a-z_.]+)\]$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE))


def keys_of_the_example() -> set[str]:
    """Return the keys that stand in the example, commented out or not; a table of its own is one key."""
    own = {header for header in headers_of_the_example() if header.rpartition(".")[2] in TABLES_OF_THEIR_OWN}
    return own | {key for key in lines_of_the_example() if key.rpartition(".")[0] not in own}


def test_the_example_has_every_key_and_no_other():
    assert keys_of_the_example() == keys_of_the_model()


def test_the_example_loads_as_it_is_once_a_password_is_supplied():
    found = load(EXAMPLE, {"STP_ETL__FEEDS__MAIN__PASSWORD": "x"}, field_names=CANONICAL_NAMES)

    assert list(found.feeds) == ["main"]
    assert found.warnings == ()


@pytest.mark.parametrize("section", sections())
def test_the_example_shows_the_defaults(section):
    found = load(EXAMPLE, {"STP_ETL__FEEDS__MAIN__PASSWORD": "x"})
    given = found.feeds["main"] if section == "feeds.main" else getattr(found, section)
    not_defaults = {"base_url", "org", "user", "password", "password_file", "field_aliases"}

    different = {
        key
        for key, field in sections()[section].model_fields.items()
        if key not in not_defaults and getattr(given, key) != field.get_default(call_default_factory=True)
    }

    assert different == set()


def test_every_key_that_is_set_says_its_default_and_why():
    lines = {key: match for key, match in lines_of_the_example().items() if not match["unset"]}
    silent = {
        key for key, match in lines.items() if not re.match(r"(default: .+|required); .+", match["comment"] or "")
    }

    assert silent - {"feeds.main.password_file", "feeds.main.field_aliases.settled_amount"} == set()


def in_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_default_in_a_comment_is_the_value_beside_it():
    wrong = {
        key
        for key, match in lines_of_the_example().items()
        if (said := re.match(r"default: ([^;]+?)(?: \(.*\))?;", match["comment"] or ""))
        and said[1].strip('"') != in_toml(tomllib.loads(f"x = {match['value']}")["x"])
    }

    assert wrong == set()


def test_the_optional_keys_of_the_example_are_sound_toml():
    values = [match["value"] for match in lines_of_the_example().values() if match["unset"]]

    assert all("x" in tomllib.loads(f"x = {value}") for value in values)
