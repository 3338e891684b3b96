"""The page about the reporting contract, written from what the database says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from etl.store.examples import EXAMPLES
from etl.store.repositories.contract import ContractColumn

HEAD = """\
# The reporting contract

Written by `stp-etl reporting describe --format markdown`; do not edit it. Version {version} (`reporting.contract`).

- Read schema `reporting`, as a member of the role `stp_reporting`. Everything else may change at any time.
- Views are never dropped. Columns are never dropped, renamed, moved or given another type; new ones come at the end, so
  name the columns that you read. The version rises with each new column.
- Amounts are `numeric` with the vendor's own digits, in major units; positive is received by our side, negative is
  paid.
- Instants are UTC; days are the vendor's own dates. The trade date turns at 17:00 New York.
- A trade is known by `feed` and `trade_id`. Versions are only ever added; nothing is deleted.

## Reading what has changed

Each version has a number, `change_seq`. Numbers rise over all feeds and become visible in their order: who has read up
to a number and asks for what is greater misses nothing and gets nothing twice, whatever was booked, read again or
killed meanwhile. Keep the last number in the same transaction as what you made of the rows.

```sql
SELECT * FROM reporting.trade_version WHERE change_seq > 0 ORDER BY change_seq LIMIT 1000;
SELECT * FROM reporting.trade_leg_version WHERE change_seq BETWEEN 1 AND 1000 ORDER BY change_seq, leg_no;
```

The second asks for the legs of the versions that the first has found; with a LIMIT of its own it might cut between two
legs. `reporting.trade` read that way gives each trade as it stands now, with the number of its last change.

To be told instead of asking: `LISTEN stp_trade_change`; one notification a batch of booked trades, its payload is the
last number. Notifications are not kept while nobody listens, so ask once after `LISTEN`.

## Five questions

"""


def page(version: str, views: Mapping[str, str], columns: Iterable[ContractColumn]) -> str:
    """Return the page in Markdown: rules, how to read changes, example queries, every view with its columns."""
    examples = "\n".join(
        f"### {each.title}\n\n{each.remark}\n\n```sql\n{each.query.strip()};\n```\n" for each in EXAMPLES
    )
    by_view: dict[str, list[ContractColumn]] = {view: [] for view in views}
    for column in columns:
        by_view[column.view].append(column)
    tables = "\n".join(_table(view, views[view], found) for view, found in by_view.items())
    return f"{HEAD.format(version=version)}{examples}\n## Views\n\n{tables}"


def _table(view: str, meaning: str, columns: Iterable[ContractColumn]) -> str:
    rows = "\n".join(f"| `{each.column}` | {each.type} | {_cell(each.meaning)} |" for each in columns)
    return f"### reporting.{view}\n\n{meaning}.\n\n| column | type | meaning |\n|---|---|---|\n{rows}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
