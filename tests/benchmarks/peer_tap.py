"""A Singer tap of the queue, for target-postgres: `python peer_tap.py URL PAGE | target-postgres --config FILE`.

After each page it writes a STATE, which is all that the protocol offers to say that something may be kept.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from peer_queue import pages

TEXT, NUMBER = {"type": ["string", "null"]}, {"type": ["number", "null"]}


def say(message: dict[str, Any]) -> None:
    """Write one message of the protocol."""
    sys.stdout.write(json.dumps(message) + "\n")


def main() -> None:
    """Write every trade of the queue as a record."""
    url, page = sys.argv[1:]
    known: dict[str, Any] = {}
    for number, each in enumerate(pages(url, int(page))):
        new = {name: NUMBER if isinstance(value, int | float) and not isinstance(value, bool) else TEXT
               for trade in each for name, value in trade.items()}  # fmt: skip
        if not new.keys() <= known.keys():
            known |= new
            say({"type": "SCHEMA", "stream": "trade", "schema": {"type": "object", "properties": known},
                 "key_properties": ["tradeId"]})  # fmt: skip
        for trade in each:
            plain = {name: value if value is None or known[name] is NUMBER else str(value)
                     for name, value in trade.items()}  # fmt: skip
            say({"type": "RECORD", "stream": "trade", "record": plain})
        say({"type": "STATE", "value": {"page": number}})
        sys.stdout.flush()


if __name__ == "__main__":
    main()
