"""Login, renewal, and who is behind a request."""

from datetime import datetime, timedelta

from etl.sandbox import auth
from etl.sandbox.auth import RefusedError, Signed
from etl.sandbox.exact import Json, value_of
from etl.sandbox.exchange import Answer, Question, ok, refusal
from etl.sandbox.options import User
from etl.sandbox.world import World


class Sessions:
    """The authentication endpoints, and the check before all others."""

    def __init__(self, world: World) -> None:
        self._world = world

    def clock(self) -> datetime:
        """Return the time as the vendor tells it: its clock, ahead of the truth by the variant."""
        return self._world.clock.now() + timedelta(seconds=self._world.variants.date_offset_s)

    def login(self, question: Question) -> Answer:
        """Issue a token for a user, a password and an organisation (R/authentication-api/login)."""
        try:
            payload = value_of(question.body)
        except ValueError:
            return refusal(400, "The body is not JSON")
        names = ("user", "pass", "org")
        if not isinstance(payload, dict) or not all(isinstance(payload.get(name), str) for name in names):
            return refusal(400, "user, pass and org are required")
        user = self._world.user(payload["user"], payload["org"])
        if user is None or payload["pass"] != self._world.password_of(user):
            return refusal(401, "The user, the password or the organisation is wrong", "AuthenticationError.Login")
        token = self._world.tokens.issue(user, self._world.variants.token_life_s)
        started, expires = self._session_ms()
        body: dict[str, Json] = {"status": "OK", "errorCode": None, "responseTuples": None}
        return self._with_token(ok(body | {"expiryTime": expires, "serverUTCTime": started}), token)

    def renew(self, question: Question) -> Answer:
        """Prolong a session: with a new token, with the same, or only while it lives (A10)."""
        variants, tokens = self._world.variants, self._world.tokens
        token = question.headers.get("sso_token")
        if token is None:
            return refusal(401, "SSO_TOKEN is missing", "AuthenticationError.TokenNotSpecified")
        try:
            user, expired = tokens.owner(token)
        except RefusedError as error:
            return refusal(401, str(error), error.code)
        if expired and variants.renew == "refuse_expired":
            return ok(self._renewal(valid=False))
        if variants.renew == "same":
            tokens.prolong(token, variants.token_life_s)
            return ok(self._renewal(valid=True))
        return self._with_token(ok(self._renewal(valid=True)), tokens.issue(user, variants.token_life_s))

    def _renewal(self, *, valid: bool) -> dict[str, Json]:
        started, expires = self._session_ms()
        body: dict[str, Json] = {"status": "OK" if valid else "ERROR", "errorCode": None if valid else "EXPIRED"}
        body |= {"responseTuples": None, "valid": valid, "expiryTime": expires if valid else started}
        return body | {"apiVersion": "1.0.1", "expired": not valid}

    def _session_ms(self) -> tuple[int, int]:
        """Return start and end of a session that begins now, in epoch milliseconds."""
        started = int(self.clock().timestamp() * 1000)
        return started, started + int(self._world.variants.token_life_s * 1000)

    def _with_token(self, answer: Answer, token: str) -> Answer:
        if self._world.variants.token_in != "cookie":
            answer = answer.with_header("SSO_TOKEN", token)
        if self._world.variants.token_in != "header":
            answer = answer.with_header("Set-Cookie", f"SSO_TOKEN={token}; Domain=.integral.com; Path=/")
            answer = answer.with_header("Set-Cookie", f"SSO_TOKEN={token}; Path=/")
        return answer

    def user_behind(self, signed: Signed) -> User:
        """Return who asks, by token or by signature; raises RefusedError."""
        if signed.headers.get("authorization", "").startswith("hmac"):
            shift = timedelta(seconds=self._world.variants.date_offset_s)
            clock = self._world.clock
            clocks = (self.clock(), clock.machine_now() + shift) if clock.moved else (self.clock(),)
            return auth.user_of_signature(signed, self._world.options.users, clocks)
        return self._world.tokens.user_of(signed.headers.get("sso_token"))
