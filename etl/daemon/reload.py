"""SIGHUP: the settings are read again; what can change in a running daemon is taken, the rest is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

import structlog

from etl import log as log_lines
from etl.app import App
from etl.config import Settings
from etl.config.alerts import AlertSettings
from etl.config.model import PublishSettings, ReconciliationSettings, RetentionSettings
from etl.config.values import Section
from etl.errors import ConfigError

LIVE_OF_A_FEED = frozenset(
    {
        "password", "password_file", "secret", "secret_file", "poll_interval_s", "quiet_poll_interval_s",
        "page_size", "max_answer_mib",
        "connect_timeout_s", "read_timeout_s", "error_pause_min_s", "error_pause_max_s", "ghost_s", "eligible_after_s",
        "history_days", "resend_days_at_once", "resend_days_unasked", "resend_budget_per_day", "conflicts_before_hold",
        "own_orgs", "non_deliverable_assets", "balance_assets", "settled_at_execution", "broker_balances",
        "ignored_in_comparison", "field_aliases",
    }
)  # fmt: skip
LIVE: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "booking": frozenset({"batch_kib", "book_every_s"}),
        "reconciliation": frozenset(ReconciliationSettings.model_fields),
        "alerts": frozenset(AlertSettings.model_fields),
        "publish": frozenset(PublishSettings.model_fields),  # the daemon has no use for them: commands read them
        "retention": frozenset(RetentionSettings.model_fields),
        "trading": frozenset({"weekend", "friday_closes", "sunday_opens", "quiet_from", "quiet_until", "timezone"}),
        "ops": frozenset({"shutdown_grace_s", "job_deadline_s", "stale_after_s", "log_level", "log_format"}),
    }
)
"""What a running daemon can take, by section. All else stands in connections, locks, tables or threads that were made
at the start: who a feed is, where the database is, certificates."""

S = TypeVar("S", bound=Section)

log = structlog.get_logger()


@dataclass(frozen=True)
class Reloaded:
    """The settings that hold from now on, the keys that changed in them, and those that need a restart."""

    settings: Settings
    taken: tuple[str, ...]
    left: tuple[str, ...]


def reload(app: App, read_settings: Callable[[], Settings]) -> bool:
    """Take what can be taken of the settings; return whether they are sound. Where they are not, the old ones stay."""
    try:
        found = merged(app.settings, read_settings())
    except ConfigError as error:
        log.error("settings.refused", faults=list(error.faults), hint="the settings from before stay in force")
        return False
    ops = found.settings.ops
    log_lines.configure(ops.log_level, ops.log_format, sys.stdout)
    app.take(found.settings)
    for warning in found.settings.warnings:
        log.warning("settings.warning", said=warning)
    log.info("settings.reloaded", changed=list(found.taken))
    if found.left:
        log.warning("settings.need_restart", keys=list(found.left), hint="restart the daemon to use them")
    return True


def merged(held: Settings, read: Settings) -> Reloaded:
    """Return the settings that are held, with what was read in its place where a running daemon can take it."""
    taken: list[str] = []
    left: list[str] = []
    feeds = {}
    for name, feed in held.feeds.items():
        feeds[name] = feed
        if name in read.feeds:
            changed = dict(_changed(feed, read.feeds[name]))
            feeds[name] = _with(feed, changed, LIVE_OF_A_FEED, f"feeds.{name}", taken, left)
            feeds[name]._name = name
    left += [f"feeds.{name}" for name in held.feeds.keys() ^ read.feeds.keys()]
    sections = {}
    for section in _sections(held):
        old, new = getattr(held, section), getattr(read, section)
        sections[section] = _with(old, dict(_changed(old, new)), LIVE.get(section, frozenset()), section, taken, left)
    settings = replace(
        held,
        feeds=MappingProxyType(feeds),
        origins=read.origins,
        source=read.source,
        warnings=read.warnings,
        **sections,
    )
    return Reloaded(settings, tuple(sorted(taken)), tuple(sorted(left)))


def _sections(settings: Settings) -> Iterator[str]:
    return (name for name, value in vars(settings).items() if isinstance(value, Section))


def _changed(old: Section, new: Section) -> Iterator[tuple[str, object]]:
    """Yield the keys whose value differs. A secret in a file is the same while its path is: it is read at each use."""
    for key in type(old).model_fields:
        if getattr(old, key) != (value := getattr(new, key)):
            yield key, value


def _with(
    old: S, changed: Mapping[str, object], live: frozenset[str], path: str, taken: list[str], left: list[str]
) -> S:
    taken += [f"{path}.{key}" for key in changed if key in live]
    left += [f"{path}.{key}" for key in changed if key not in live]
    return old.model_copy(update={key: value for key, value in changed.items() if key in live})
