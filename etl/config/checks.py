"""What no key can tell alone: secrets and their files, keys that need or exclude each other, twin feeds."""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from etl.config.faults import SECRET_KEYS, Fault, shown, unknown
from etl.config.faults import Path as KeyPath
from etl.config.secret import Secret, secret_in, why_unreadable
from etl.config.sources import Raw, Table, variable_part
from etl.config.values import sound_base_url

FEED_NAME = re.compile(r"[A-Za-z0-9](?:_?[A-Za-z0-9-]){0,39}")
NEEDED_BY = {"token": "password", "hmac": "secret"}
TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
DAY_ENDS = (("business_day_ends", "17:00"), ("sweep_at", "17:30"))
PLAIN_FILES = ("ca_file", "client_cert_file", "client_key_file")


def sections(raw: Raw) -> Iterator[tuple[KeyPath, Table]]:
    """Yield every table that can hold a secret or a file, with its path."""
    for section in ("database", "publish", "alerts"):
        if isinstance(table := raw.tables.get(section), dict):
            yield (section,), table
    yield from feeds(raw)


def feeds(raw: Raw) -> Iterator[tuple[KeyPath, Table]]:
    tables = raw.tables.get("feeds")
    if isinstance(tables, dict):
        yield from ((("feeds", str(name)), table) for name, table in tables.items() if isinstance(table, dict))


def open_secret_files(raw: Raw) -> tuple[list[Fault], list[str]]:
    """Put a Secret in the place of every KEY_file; return the faults, and warnings about files that anyone may read."""
    faults: list[Fault] = []
    warnings: list[str] = []
    for path, table in sections(raw):
        for key in sorted(SECRET_KEYS & {name.removesuffix("_file") for name in table}):
            given = table.get(f"{key}_file")
            if not isinstance(given, str) or not given:
                continue
            if table.get(key):
                faults.append(Fault((*path, key), f"is given twice, here and as {key}_file; leave one out"))
                continue
            file = Path(given)
            if why := fault_of_secret(file):
                faults.append(Fault((*path, f"{key}_file"), why, shown((f"{key}_file",), given)))
                continue
            table[key] = Secret.in_file(file)
            if anyone_may_read(file):
                warnings.append(f"{'.'.join(path)}.{key}_file: anyone on this machine may read {file}; chmod o-r it")
    return faults, warnings


def fault_of_secret(file: Path) -> str:
    try:
        secret_in(file)
    except (OSError, ValueError) as error:
        return why_unreadable(error)
    return ""


def anyone_may_read(file: Path) -> bool:
    return bool(file.stat().st_mode & stat.S_IROTH)


def contradictions_in(raw: Raw) -> Iterator[Fault]:
    """Yield every fault between keys; the raw values may be of any type here."""
    names: dict[str, str] = {}
    identities: dict[tuple[str, ...], str] = {}
    for path, feed in feeds(raw):
        name = path[1]
        if not FEED_NAME.fullmatch(name):
            yield Fault(path, "a feed's name has at most 40 letters, digits, - or _ (not two _ in a row)")
        if (other := names.setdefault(variable_part(name), name)) != name:
            yield Fault(path, f"cannot be told from feeds.{other} in environment variables; rename one")
        if (identity := identity_of(feed)) and (other := identities.setdefault(identity, name)) != name:
            yield Fault(path, f"has the same base_url, org and user as feeds.{other}; a queue has one reader only")
        yield from faults_of_feed(path, feed)
        yield from faults_of_deadline(raw, path, feed)
    alerts = raw.tables.get("alerts")
    given = alerts.get("ca_file") if isinstance(alerts, dict) else None
    if isinstance(given, str) and given and (why := fault_of_file(Path(given))):
        yield Fault(("alerts", "ca_file"), why, shown((), given))
    if isinstance(hours := raw.tables.get("trading"), dict):
        yield from faults_of_quiet_hours(hours)
    times = raw.tables.get("reconciliation")
    if isinstance(times, dict) and (quiet := times.get("quiet_from", "18:00")) == times.get("quiet_until", "23:00"):
        yield Fault(("reconciliation", "quiet_until"), "must differ from quiet_from", shown((), quiet))
    if isinstance(times, dict):
        ends, swept = (str(times.get(key, usual))[:5] for key, usual in DAY_ENDS)
        if TIME_OF_DAY.fullmatch(ends) and TIME_OF_DAY.fullmatch(swept) and swept < ends:
            yield Fault(("reconciliation", "sweep_at"), "must not be before business_day_ends", shown((), swept))
    kept = raw.tables.get("retention")
    if isinstance(kept, dict):
        yield from faults_of_retention(kept)


def faults_of_retention(kept: Table) -> Iterator[Fault]:
    """A poll is what tells of its answer: it stays as long as the answer."""
    answers, polls = kept.get("answers_months", 0), kept.get("polls_months", 0)
    if isinstance(answers, int) and isinstance(polls, int) and polls and (not answers or polls < answers):
        rule = "must be 0, or at least answers_months, which must not be 0 then: a poll outlives its answer"
        yield Fault(("retention", "polls_months"), rule, shown((), polls))


def faults_of_quiet_hours(hours: Table) -> Iterator[Fault]:
    start, end = hours.get("quiet_from") or "", hours.get("quiet_until") or ""
    if bool(start) != bool(end):
        missing, given = ("quiet_until", "quiet_from") if start else ("quiet_from", "quiet_until")
        yield Fault(("trading", missing), f"is missing: {given} is given")
    elif start and start == end:
        yield Fault(("trading", "quiet_until"), "must differ from quiet_from", shown((), end))


def faults_of_feed(path: KeyPath, feed: Table) -> Iterator[Fault]:
    auth = feed.get("auth", "token")
    needed = NEEDED_BY.get(auth) if isinstance(auth, str) else None
    if needed and feed.get(needed) in (None, "") and not feed.get(f"{needed}_file"):
        yield Fault((*path, needed), f'is missing: auth = "{auth}" needs {needed} or {needed}_file')
    if feed.get("client_key_file") and not feed.get("client_cert_file"):
        yield Fault((*path, "client_key_file"), "needs client_cert_file too")
    least, most = feed.get("error_pause_min_s", 1), feed.get("error_pause_max_s", 300)
    if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
        yield Fault((*path, "error_pause_max_s"), "must not be less than error_pause_min_s", shown((), most))
    for key in PLAIN_FILES:
        given = feed.get(key)
        if isinstance(given, str) and given and (why := fault_of_file(Path(given))):
            yield Fault((*path, key), why, shown((key,), given))
    early, compared = feed.get("settled_at_execution", []), feed.get("balance_assets", [])
    if isinstance(early, list) and isinstance(compared, list):
        for number, asset in enumerate(early):
            if asset not in compared:
                rule = "must be one of balance_assets: no other asset's balance is compared"
                yield Fault((*path, f"settled_at_execution[{number}]"), rule, shown((), asset))


def faults_of_deadline(raw: Raw, path: KeyPath, feed: Table) -> Iterator[Fault]:
    """Yield a fault where a request that is merely slow would count as hung."""
    ops, patience = raw.tables.get("ops"), feed.get("read_timeout_s", 30)
    deadline = ops.get("job_deadline_s", 900) if isinstance(ops, dict) else 900
    if isinstance(deadline, int | float) and isinstance(patience, int | float) and deadline <= patience:
        rule = f"must be more than {'.'.join(path)}.read_timeout_s = {patience:g}"
        yield Fault(("ops", "job_deadline_s"), rule, shown((), deadline))


def fault_of_file(file: Path) -> str:
    try:
        with file.open("rb"):
            return ""
    except (OSError, ValueError) as error:
        return why_unreadable(error)


def identity_of(feed: Table) -> tuple[str, ...] | None:
    """Return base URL, organisation and user; None as long as one of them is missing or wrong."""
    parts = [feed.get(key) for key in ("base_url", "org", "user")]
    if not all(isinstance(part, str) and part for part in parts):
        return None
    try:
        return sound_base_url(str(parts[0])), str(parts[1]), str(parts[2])
    except ValueError:
        return None


def hurried(path: KeyPath, feed: Table) -> Iterator[str]:
    """Yield the waits that are shorter than a request may take; a vendor on this machine is one for trying out."""
    patience, ghost = feed.get("read_timeout_s", 30), feed.get("ghost_s", 120)
    if not str(feed.get("base_url", "")).startswith("https:") or not isinstance(patience, int | float):
        return
    if isinstance(ghost, int | float) and ghost < patience:
        yield (
            f"{'.'.join(path)}.ghost_s: {ghost:g} is less than read_timeout_s = {patience:g}: a request that the "
            "vendor executes late may swallow what it hands out again; see A22"
        )
    if feed.get("eligible_after_s", 10) == 0:
        yield f"{'.'.join(path)}.eligible_after_s: 0 holds only where the vendor queues resent trades at once; see A12"


def unknown_aliases(raw: Raw, fields: Collection[str]) -> Iterator[Fault]:
    """Yield the aliases for fields that do not exist; `fields` are the canonical names, empty when not known here."""
    for path, feed in feeds(raw):
        aliases = feed.get("field_aliases")
        for name in aliases if fields and isinstance(aliases, dict) else ():
            if name not in fields:
                yield unknown((*path, "field_aliases", name), fields, "field")


def warnings_about(raw: Raw) -> Iterator[str]:
    """Yield what is allowed but probably not meant."""
    for path, feed in feeds(raw):
        own_orgs, org = feed.get("own_orgs"), feed.get("org")
        if isinstance(own_orgs, list) and own_orgs and org not in own_orgs:
            yield f"{'.'.join(path)}.own_orgs: does not hold {org}, the organisation that the feed logs in to"
        for auth, key in NEEDED_BY.items():
            if feed.get(key) and (chosen := feed.get("auth", "token")) != auth:
                yield f"{'.'.join(path)}.{key}: is not used while auth is {chosen}"
        yield from hurried(path, feed)
        key_file = feed.get("client_key_file")
        if isinstance(key_file, str) and key_file and anyone_may_read(Path(key_file)):
            yield f"{'.'.join(path)}.client_key_file: anyone on this machine may read {key_file}; chmod o-r it"
