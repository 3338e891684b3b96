"""The shortest way for pages that were written beforehand; all else takes the usual one."""

from email.utils import format_datetime

from starlette.types import ASGIApp, Receive, Scope, Send

from etl.sandbox.auth import RefusedError
from etl.sandbox.options import User
from etl.sandbox.sessions import Sessions
from etl.sandbox.world import World

MESSAGES = "/v2/trades/stp/messages"


class Express:
    """Serves a page that waits, where nothing makes this request special."""

    def __init__(self, world: World, sessions: Sessions, app: ASGIApp) -> None:
        self._world = world
        self._sessions = sessions
        self._app = app
        size = world.options.prerender
        usual = size == world.options.page_size_default
        self._queries = (f"maxCount={size}".encode(), b"") if usual else (f"maxCount={size}".encode(),)
        self._pages = size > 0
        self._date = (0, b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if self._pages and scope.get("path") == MESSAGES and (body := self._page(scope)) is not None:
            content, request_id = body
            headers = [(b"content-type", b"application/json"), (b"date", self._now())]
            headers += [(b"x-request-id", request_id)] if request_id is not None else []
            headers.append((b"content-length", str(len(content)).encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": content})
        else:
            await self._app(scope, receive, send)

    def _page(self, scope: Scope) -> tuple[bytes, bytes | None] | None:
        """Hand out a page, or return None where the usual way has to answer."""
        world = self._world
        if world.plan.active or world.options.second_consumer or world.whole_bodies or world.variants.max_count_limit:
            return None
        headers = dict(scope["headers"])
        if scope["query_string"] not in self._queries or b"x-sandbox-fault" in headers or b"authorization" in headers:
            return None
        user = self._user(headers.get(b"sso_token", b"").decode("latin-1"))
        if user is None or not (queue := world.queue(user)).pages:
            return None
        page, request_id = queue.take_page(), headers.get(b"x-request-id")
        now = world.clock.now()
        text_id = None if request_id is None else request_id.decode("latin-1")
        world.records.hand_out(now, user.name, text_id, page.items)
        line = scope["method"], f"{MESSAGES}?{scope['query_string'].decode('latin-1')}"
        record = world.records.request(now, "messages", line=line, request_id=text_id)
        record.user, record.status, record.trades = user.name, 200, len(page.items)
        return page.body, request_id

    def _user(self, token: str) -> User | None:
        try:
            return self._world.tokens.user_of(token)
        except RefusedError:
            return None

    def _now(self) -> bytes:
        """Return the Date header, written once a second."""
        now = self._sessions.clock()
        second = int(now.timestamp())
        if self._date[0] != second:
            self._date = second, format_datetime(now, usegmt=True).encode()
        return self._date[1]
