"""Counts and numbers of things as they stand in a sentence."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: int, one: str, many: str = "") -> str:
    """Return the count with its noun, such as `1 break` and `2,000 breaks`; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def numbered(noun: str, numbers: Iterable[int]) -> str:
    """Return things by their numbers: `break 17`, `breaks 17, 18`."""
    each = [str(number) for number in numbers]
    return f"{noun}{'' if len(each) == 1 else 's'} {', '.join(each)}"
