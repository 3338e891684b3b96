"""What each general loading tool is given: pages of the queue until an empty one. Needs only requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import requests


def pages(url: str, page: int, **read: Any) -> Iterator[list[dict[str, Any]]]:
    """Log in and yield each page as the vendor answers it, read as `json.loads` is told; an empty one is the end."""
    body = {"user": "apiUser", "pass": "sandbox", "org": "pfOrg"}
    session = requests.Session()
    session.headers["SSO_TOKEN"] = session.post(f"{url}/v2/sso/login", json=body, timeout=30).headers["SSO_TOKEN"]
    while True:
        answer = session.get(f"{url}/v2/trades/stp/messages", params={"maxCount": page}, timeout=30)
        if answer.status_code == 204 or len(answer.content) <= 2:
            return
        yield answer.json(**read)
