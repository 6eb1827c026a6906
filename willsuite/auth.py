"""The access token: OAuth2 client credentials, kept in memory only.

Source: the vendor's Authentication page (facts.md 2): a JSON body, `grant_type`
`client_credentials`. The answer's form is inferred from Laravel Passport.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from pydantic import SecretStr

from willsuite.errors import (
    AuthenticationError,
    ConfigurationError,
    ContractError,
    NotJsonError,
    RateLimitedError,
    ServerError,
    TokenUnavailableError,
    TooLongError,
    TransientError,
)
from willsuite.retrying import MAX_RETRY_AFTER_SECONDS, RetryBudget, retry_after_seconds, utc_now
from willsuite.transport import Answer, Transport

_LOG = logging.getLogger(__name__)

RENEW_AT = 0.9
"""The share of a token's lifetime after which it is replaced."""

# The only words of a refusal that are repeated: those of RFC 6749, 5.2.
_OAUTH_ERRORS = {
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
}


class TokenSource:
    """Gives out one valid token; however many callers ask, one of them fetches it."""

    def __init__(
        self,
        transport: Transport,
        client_id: str,
        client_secret: SecretStr,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        say: Callable[[str], None] = _LOG.warning,
    ) -> None:
        self._transport = transport
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._sleep = sleep
        self._say = say
        self._token: str | None = None
        self._renew_at: float | None = None
        self._lock = asyncio.Lock()

    async def token(self, *, instead_of: str | None = None) -> str:
        """A token that is neither due for renewal nor `instead_of` (one that got a 401).

        Raises:
            AuthenticationError: the credentials were refused; never retried.
            ConfigurationError: there is no token endpoint at that URL.
            ContractError: what it answers is no token.
            TokenUnavailableError: the endpoint can't be reached or keeps failing, or asks for a
                longer wait than a run can have.
        """
        if (current := self._usable(instead_of)) is not None:
            return current
        async with self._lock:
            if (current := self._usable(instead_of)) is not None:
                return current
            return await self._fetch()

    def _usable(self, instead_of: str | None) -> str | None:
        if self._token is None or self._token == instead_of:
            return None
        if self._renew_at is not None and self._clock() >= self._renew_at:
            return None
        return self._token

    async def _fetch(self) -> str:
        budget = RetryBudget(self._clock)
        while True:
            asked_seconds = None
            started = self._clock()
            try:
                answer = await self._ask()
                asked_seconds = retry_after_seconds(answer.headers, utc_now())
                return self._remember(self._accepted(answer), started)
            except TransientError as error:
                delay = budget.next_delay_seconds(asked_seconds)
                if (asked_seconds or 0) > MAX_RETRY_AFTER_SECONDS:
                    raise TokenUnavailableError(
                        f"No access token: {error} It asks for a longer wait than the "
                        f"{MAX_RETRY_AFTER_SECONDS:.0f} seconds that a run accepts; start the run "
                        "again later."
                    ) from None
                if delay is None:
                    raise TokenUnavailableError(
                        f"No access token: {error} Check WILLSUITE_BASE_URL, WILLSUITE_TOKEN_URL "
                        "and the network, and start the run again."
                    ) from None
                self._say(f"No access token yet: {error} Asking again in {delay:.0f} seconds.")
            await self._sleep(delay)

    async def _ask(self) -> Answer:
        body = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret.get_secret_value(),
        }
        try:
            return await self._transport.send(
                "POST",
                "",
                headers={"content-type": "application/json", "accept": "application/json"},
                content=msgspec.json.encode(body),
            )
        except TooLongError:
            raise ConfigurationError(
                f"The token endpoint at {self._transport.host} answers with far more than a "
                "token; check WILLSUITE_TOKEN_URL."
            ) from None

    def _accepted(self, answer: Answer) -> dict[str, Any]:
        status = answer.status
        if status in (200, 201):
            return _json_object(answer.body)
        where = f"The token endpoint at {self._transport.host}"
        if status == 429:
            raise RateLimitedError(f"{where} limits the rate (429).")
        if status >= 500:
            raise ServerError(f"{where} answers with status {status}.", status)
        if status in (404, 405) or 300 <= status < 400:
            raise ConfigurationError(
                f"There is no token endpoint at the given address on {self._transport.host} "
                f"(status {status}); set WILLSUITE_TOKEN_URL to the one WillSuite gave you."
            )
        raise AuthenticationError(
            f"WillSuite refused the client id and secret ({_oauth_code(answer)}); check "
            "WILLSUITE_CLIENT_ID and WILLSUITE_CLIENT_SECRET, which an administrator of the "
            "account can renew under Admin Settings > API Settings."
        )

    def _remember(self, body: dict[str, Any], started: float) -> str:
        token = body.get("access_token")
        if (
            not isinstance(token, str)
            or not token
            or not token.isascii()
            or not token.isprintable()
        ):
            raise ContractError("The token endpoint's answer holds no access_token.")
        self._token = token
        self._renew_at = None
        try:
            lifetime_seconds = float(body.get("expires_in") or 0)
        except (TypeError, ValueError, OverflowError):
            lifetime_seconds = 0
        if lifetime_seconds > 0:
            self._renew_at = started + lifetime_seconds * RENEW_AT
        return token


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotJsonError(
            "The token endpoint answered with something else than a JSON object."
        ) from None


def _oauth_code(answer: Answer) -> str:
    try:
        code = _json_object(answer.body).get("error")
    except NotJsonError:
        code = None
    return code if isinstance(code, str) and code in _OAUTH_ERRORS else f"status {answer.status}"
