"""How an order or a question under `/_sandbox` is read and answered."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from etl.sandbox.exact import Json, bytes_of, value_of
from etl.sandbox.guide import ALSO, ORDERS, PATH

LINES = "application/x-ndjson"


def deed(name: str, act: Callable[[Mapping[str, Any]], Json]) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of an order; one that makes no sense is 400 and changes nothing."""

    async def endpoint(request: Request) -> Response:
        try:
            values = object_of(await request.body())
            if unknown := unknown_in(name, values):
                raise ValueError(f"{name} takes no {', '.join(unknown)}; see {PATH}")
            return json_of(act(values))
        except KeyError as error:
            return json_of({"error": f"{error.args[0]} is missing"}, 400)
        except (ValueError, TypeError) as error:
            return json_of({"error": str(error)}, 400)

    return endpoint


def question(ask: Callable[[int], Iterator[bytes]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of a question: lines, after the first `after` of them."""

    async def endpoint(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdigit():
            return json_of({"error": "after is not a number"}, 400)
        lines = b"".join(ask(int(after)))
        return Response(lines, media_type=LINES)

    return endpoint


def object_of(body: bytes) -> dict[str, Any]:
    """Return the object in a body, empty where there is none; raise ValueError where it is something else."""
    try:
        values = value_of(body or b"{}")
    except ValueError as error:
        raise ValueError(f"the body is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError("the body is not an object")
    return values


def json_of(document: Json, status: int = 200) -> Response:
    """Return the document as an answer."""
    return Response(bytes_of(document), status, media_type="application/json")


def unknown_in(name: str, values: Mapping[str, Any]) -> list[str]:
    """Return what of a body the order does not take; a variant names its own."""
    _, example = ORDERS[name]
    return [] if name == "variant" else sorted({*values} - {*example, *ALSO.get(name, ()), "org"})
