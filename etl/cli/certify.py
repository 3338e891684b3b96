"""`stp-etl certify`: what can be proven about a trade day, and a person's name to it."""

from __future__ import annotations

import sys
from datetime import date
from typing import Annotated

import msgspec
import typer

from etl.app import App
from etl.cli.context import invocation
from etl.cli.options import FOUND_SOMETHING, FeedOption, check_begun, day, ready_app
from etl.cli.output import Format, FormatOption, json_text, plain, remark, show, show_card
from etl.controls.certificate import Certificate, CertifiedFeed, Certifier
from etl.domain.certificate import CertificateState
from etl.domain.words import counted
from etl.ops.build import installed_version

cli = typer.Typer(add_completion=False)
REASONS = ("reason", "detail", "command")
OPENINGS = ("opening", "control", "level", "value", "as_of", "by", "keys", "reason")


@cli.command("certify", epilog="Example: stp-etl certify --trade-date 2026-03-02 --sign-off --as 'Olga Petrova'")
def certify(
    context: typer.Context,
    trade_date: Annotated[date, typer.Option("--trade-date", parser=day, metavar="DAY", help="Such as 2026-03-02.")],
    feed: FeedOption = None,
    sign_off: Annotated[
        bool, typer.Option("--sign-off", help="Sign the last certificate instead of issuing one.")
    ] = False,
    signed_as: Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who signs.")] = None,
    comment: Annotated[str | None, typer.Option("--comment", help="Kept with the signature.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Say whether a trade day is COMPLETE, INCOMPLETE for named reasons, or PRELIMINARY; exit 3 unless it is COMPLETE.

    It asks the database only. Each certificate has a number, supersedes the one before and tells the difference.
    """
    if sign_off != (signed_as is not None and bool(signed_as.strip())):
        raise typer.BadParameter("--sign-off and --as NAME go together", param_hint="--sign-off")
    operator = invocation(context).operator
    with ready_app(context) as app:
        certifier = Certifier(certified(app, feed), app.open_work, app.clock)
        check_begun(app, trade_date)
        if sign_off:
            assert signed_as is not None
            name = " ".join(signed_as.split())
            found, is_new = certifier.sign(trade_date, signed_as=name, operator=operator, comment=comment)
            remark(signed_words(found, name) if is_new else signed_already(found, name))
        else:
            found = certifier.issue(trade_date, operator)
    show_certificate(found, fmt)
    if found.state is not CertificateState.COMPLETE:
        raise typer.Exit(FOUND_SOMETHING)


def signed_words(found: Certificate, name: str) -> str:
    """Return what was signed, in a sentence: a name under what is not complete accepts what is missing."""
    signed = f"certificate {found.certificate_id} is signed as {name}"
    if found.state is CertificateState.COMPLETE:
        return signed
    why = counted(len(found.reasons), "reason")
    return f"{signed}: it is {found.state} for {why}, which the name accepts; they stand under `Why not`"


def signed_already(found: Certificate, name: str) -> str:
    """Return that this name stands under the certificate since when, in a sentence."""
    at = next(each["signed_at"] for each in found.signatures if each["signed_as"] == name)
    return f"certificate {found.certificate_id} is signed as {name} already, since {plain(at)}; nothing was changed"


def certified(app: App, name: str | None) -> CertifiedFeed:
    """Return what the certificate must know of the feed of this name, or of the only one."""
    given = app.settings.feed(name)
    times = app.settings.reconciliation
    wanted = {"positions": times.positions_every_s, "fills": times.fills_every_s, "balances": times.balances_every_s}
    return CertifiedFeed(
        feed_id=app.feed(given.name).feed_id, name=given.name, settings_hash=app.settings.settings_hash(),
        software_version=installed_version(), answers_within_s=given.connect_timeout_s + given.read_timeout_s,
        day_ends=times.business_day_ends, zone=times.zone, sweep=times.sweep == "daily",
        controls=tuple(control for control, every_s in wanted.items() if every_s > 0), level=times.level,
        balances=bool(given.balance_assets),
        limits={
            "history_days": given.history_days,
            "tolerance_units": dict(times.tolerance_units),
            "backdated": f"trades backdated by more than {given.history_days} days are not covered",
        },
    )  # fmt: skip


def show_certificate(found: Certificate, fmt: Format) -> None:
    """Write the certificate: what it says first, then why not, then what it rests on."""
    whole = msgspec.structs.asdict(found)
    if fmt is not Format.TABLE:
        whole["reasons"] = msgspec.to_builtins(found.reasons)
        whole["signatures"] = [{name: plain(each[name]) for name in each} for each in found.signatures]
        if fmt is Format.JSON:
            sys.stdout.write(json_text(plain(whole)) + "\n")
        else:
            show_card(whole, fmt)
        return
    show_card({
        "certificate": f"{found.certificate_id} (number {found.number} of {found.feed}, {found.trade_date})",
        "state": found.state, "issued": f"{plain(found.issued_at)} by {found.issued_by}", **found.counts,
        "proven_empty_at": found.basis["proven_empty_at"], "sweep": found.basis["sweep"]["state"],
        **orders_asked(found), "closed_by_hand": len(found.basis["closed_by_hand"]),
        "limits": found.basis["limits"]["backdated"],
        "trades_sha256": found.trades_sha256, "sha256": found.sha256, **signed_by(found),
    })  # fmt: skip
    for title, rows, columns in (
        ("Why not", msgspec.to_builtins(found.reasons), REASONS),
        ("Sums of live trades, + received, - paid", found.sums, ("currency", "receive", "pay")),
        ("Where the comparisons start from", found.basis.get("openings", ()), OPENINGS),
    ):
        if rows:
            sys.stdout.write(f"\n{title}\n")
            show(rows, columns)
    for name, each in found.difference.items():
        remark(f"differs from number {found.number - 1} in {name}: {json_text(plain(each))}")


def signed_by(found: Certificate) -> dict[str, str]:
    """Return who signed the certificate, when, and with which comment; nothing where nobody did."""
    said = [
        f"{each['signed_as']}, {plain(each['signed_at'])}{': ' + each['comment'] if each['comment'] else ''}"
        for each in found.signatures
    ]
    return {"signed": "; ".join(said)} if said else {}


def orders_asked(found: Certificate) -> dict[str, str]:
    """Return of how many orders the run of fills asked that the certificate rests on; nothing without one."""
    basis = found.basis["controls"].get("fills", {}).get("basis", {})
    return {"orders_asked": f"{basis['orders_asked']} of {basis['orders']}"} if "orders_asked" in basis else {}
