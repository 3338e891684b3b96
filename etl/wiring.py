"""From the settings of a feed to what the parts that work on it must know."""

from __future__ import annotations

from etl.config import FeedSettings, TradingSettings
from etl.config.model import BookingSettings, ReconciliationSettings
from etl.config.values import ASSUMPTIONS
from etl.controls.resend import HealedFeed
from etl.domain.fields import Reading
from etl.domain.sweeps import SweepTimes
from etl.domain.trading_hours import TradingHours
from etl.pipeline.batch import BookedFeed
from etl.pipeline.drain import PolledFeed
from etl.pipeline.failover import FailedOver
from etl.vendor.endpoint import MIB, Endpoint


def reading_of(settings: FeedSettings) -> Reading:
    """Return how the messages of the feed are read."""
    return Reading(
        own_orgs=frozenset(settings.own_orgs),
        aliases={name: tuple(names) for name, names in settings.field_aliases.items()},
        non_deliverable_assets=frozenset(settings.non_deliverable_assets),
        ignored_in_comparison=frozenset(settings.ignored_in_comparison),
    )


def polled(feed_id: int, settings: FeedSettings, grace_s: float) -> PolledFeed:
    """Return what the poller must know of the feed."""
    return PolledFeed(
        feed_id, settings.name, page_size=settings.page_size, history_days=settings.history_days,
        pause_min_s=settings.error_pause_min_s, pause_max_s=settings.error_pause_max_s, grace_s=grace_s,
        ghost_s=settings.ghost_s,
    )  # fmt: skip


def booked(feed_id: int, settings: FeedSettings, booking: BookingSettings) -> BookedFeed:
    """Return what booking must know of the feed."""
    return BookedFeed(
        feed_id, settings.name, reading_of(settings), batch_bytes=booking.batch_kib * 1024,
        conflicts_before_hold=settings.conflicts_before_hold,
    )  # fmt: skip


def healed(feed_id: int, settings: FeedSettings, given: ReconciliationSettings) -> HealedFeed:
    """Return what healing and sweeping must know of the feed."""
    times = SweepTimes(given.sweep == "daily", given.sweep_at, given.quiet_from, given.quiet_until, given.zone)
    return HealedFeed(
        feed_id, settings.name, ghost_s=settings.ghost_s, eligible_after_s=settings.eligible_after_s,
        days_at_once=settings.resend_days_at_once, budget_per_day=settings.resend_budget_per_day,
        history_days=settings.history_days, times=times, suspect_after=given.suspect_after_sweeps,
    )  # fmt: skip


def endpoint_of(settings: FeedSettings) -> Endpoint:
    """Return where the vendor is and who asks."""
    certificate = (str(settings.client_cert_file), str(settings.client_key_file or settings.client_cert_file))
    password, secret = settings.password, settings.secret
    return Endpoint(
        base_url=settings.base_url, org=settings.org, user=settings.user, auth=settings.auth,
        password=password.reveal if password is not None else str,
        secret=secret.reveal if secret is not None else str,
        connect_timeout_s=settings.connect_timeout_s, read_timeout_s=settings.read_timeout_s,
        pause_min_s=settings.error_pause_min_s, pause_max_s=settings.error_pause_max_s,
        renew_path=settings.renew_path, proxy=settings.proxy,
        ca_file=str(settings.ca_file) if settings.ca_file else None,
        client_cert=certificate if settings.client_cert_file else None,
        max_answer_bytes=settings.max_answer_mib * MIB,
    )  # fmt: skip


def unconfirmed(settings: FeedSettings) -> list[str]:
    """Return the assumptions about the vendor that nobody has settled for this feed."""
    return [each for each in ASSUMPTIONS if each not in settings.confirmed_assumptions]


def failed_over(feed_id: int, settings: FeedSettings) -> FailedOver:
    """Return what must be known of a feed whose database may have failed over."""
    return FailedOver(feed_id, settings.name, settings.ghost_s, settings.history_days)


def hours_of(settings: TradingSettings) -> TradingHours:
    """Return when the market trades."""
    quiet = (settings.quiet_from, settings.quiet_until)
    return TradingHours(
        settings.zone, settings.friday_closes, settings.sunday_opens, weekend=settings.weekend == "closed",
        quiet=(quiet[0], quiet[1]) if quiet[0] is not None and quiet[1] is not None else None,
    )  # fmt: skip
