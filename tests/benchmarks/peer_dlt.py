"""The queue into Postgres with dlt, as its documents say: `python peer_dlt.py bulk|page URL DATABASE PAGE FOLDER`.

`bulk` is one run over all pages, merged on the trade's id; `page` is made to commit: one run a page.
"""

from __future__ import annotations

import sys

import dlt
from peer_queue import pages


def main() -> None:
    """Load until the queue is empty."""
    way, url, database, page, folder = sys.argv[1:]
    pipeline = dlt.pipeline(
        "stp", pipelines_dir=folder, destination=dlt.destinations.postgres(credentials=database), dataset_name="peer"
    )
    source = pages(url, int(page))
    if way == "bulk":
        pipeline.run(dlt.resource(source, name="trade", primary_key="tradeId", write_disposition="merge"))
        return
    for each in source:
        pipeline.run(dlt.resource([each], name="trade", primary_key="tradeId", write_disposition="merge"))


if __name__ == "__main__":
    main()
