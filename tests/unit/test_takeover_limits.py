"""The limits that a takeover is the sum of: a leader stops in time, and a standby leads within 5 s."""

from etl.schedule import LEAD_EVERY_S
from etl.store.leases import PING_EVERY_S, SERVER_ENDS_IT_AFTER, TRUSTED_FOR_S

TAKEN_OVER_WITHIN_S = 5.0  # design §5
SERVER_ENDS_IT_AFTER_S = float(SERVER_ENDS_IT_AFTER.removesuffix("s"))


def test_the_server_ends_a_hung_leaders_session_and_the_standby_looks_again_within_5_s():
    assert SERVER_ENDS_IT_AFTER_S + LEAD_EVERY_S < TAKEN_OVER_WITHIN_S


def test_a_leader_without_pings_stops_before_the_server_ends_its_session():
    assert TRUSTED_FOR_S < SERVER_ENDS_IT_AFTER_S


def test_a_late_ping_costs_nobody_the_leadership():
    assert 2 * PING_EVERY_S < TRUSTED_FOR_S
