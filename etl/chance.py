"""The only place that draws ids and anything else by chance."""

from uuid import uuid4


def new_id() -> str:
    """Return an id that nobody else has: of a request, of a run."""
    return uuid4().hex
