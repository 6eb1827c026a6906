"""What every request meets before its endpoint: the routes, the rate limit, tokens.

Belongs here: the endpoint that gives out tokens, too.
"""

import secrets
import time
from typing import Literal

from aiohttp import web

from sandbox.account import Account
from sandbox.refusals import oauth_refusal, refusal

CLIENT_ID = "sandbox"
CLIENT_SECRET = "sandbox-secret"  # noqa: S105 - the sandbox's only account, printed at its start
WINDOW_SECONDS = 60.0
TOKENS_PER_MINUTE = 60
Bucket = Literal["api", "tokens"]
"""What the rate limit counts apart."""


class Gate(Account):
    """The account, as far as it lets requests in."""

    def _check_token(self, request: web.Request) -> None:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or self.tokens.get(token, 0.0) < time.monotonic():
            raise refusal(401, "Unauthenticated.")

    def _rate_limit(self, bucket: Bucket) -> dict[str, str]:
        """Laravel's fixed window: counts from the first request, then refuses to the end."""
        limit = self.options.requests_per_minute
        if limit is None:
            return {}
        if bucket == "tokens":
            limit = TOKENS_PER_MINUTE
        now = time.monotonic()
        started, used = self._windows.get(bucket, (now, 0))
        if now - started >= WINDOW_SECONDS:
            started, used = now, 0
        used += 1
        self._windows[bucket] = (started, used)
        headers = {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - used)),
        }
        if used > limit:
            left = WINDOW_SECONDS - (now - started)
            headers["Retry-After"] = str(int(left) + 1)
            headers["X-RateLimit-Reset"] = str(int(time.time() + left) + 1)
            raise refusal(429, "Too Many Attempts.", headers)
        return headers

    async def _token(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError:
            body = {}
        if not isinstance(body, dict):
            body = {}
        if body.get("grant_type") != "client_credentials":
            raise oauth_refusal(400, "unsupported_grant_type")
        if (body.get("client_id"), body.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            raise oauth_refusal(401, "invalid_client")
        token = secrets.token_urlsafe(32)
        self.tokens[token] = time.monotonic() + self.options.token_seconds
        return web.json_response(
            {
                "token_type": "Bearer",
                "expires_in": int(self.options.token_seconds),
                "access_token": token,
            }
        )


def answer_unrouted(unrouted: web.HTTPException) -> web.Response:
    """Of a path that isn't there, without a word; of a method that it hasn't, with those it has."""
    if unrouted.status == 404:
        return refusal(404, "").response()
    return refusal(
        unrouted.status, unrouted.reason, {"Allow": unrouted.headers["Allow"]}
    ).response()
