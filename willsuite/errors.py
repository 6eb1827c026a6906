"""What can go wrong with the API, sorted by what the caller does next.

Belongs here: exception classes of the client, and nothing else.
Does not: how a status becomes an error (`answers.py`), what a flow does about it (`flows/`).

    WillSuiteError
    ├── ConfigurationError        fix the settings; nothing useful can be sent
    ├── AuthenticationError       fix the credentials
    ├── InvalidRecordError        fix the values: they break a documented limit; nothing was sent
    ├── RejectedError             fix the request: the server read it and refused it (4xx)
    │   └── NotFoundError         the thing is not there (404)
    ├── ContractError             read the docs again: the answer isn't what they describe
    │   └── TooLongError          it was given up; for a write, the effect is unknown
    └── TransientError            try again later
        ├── TokenUnavailableError no token could be had, so the request was never sent
        ├── UnreachableError      the request never arrived
        ├── AnswerLostError       it may have arrived, and the answer is missing or cut
        ├── ServerError           5xx: it arrived, and may have been carried out
        ├── NotJsonError          2xx with something else than JSON (a log-in page, a firewall)
        └── RateLimitedError      429 for longer than we are willing to wait

Messages are whole sentences for the person who runs the flow. They carry methods, path
templates, host names, statuses and codes; never a body, a query, a name or a secret.
"""


class WillSuiteError(Exception):
    """Base of everything the client raises on purpose."""


class ConfigurationError(WillSuiteError):
    """The settings can't work; the message says which one to change."""


class AuthenticationError(WillSuiteError):
    """The server doesn't accept the client id and secret, or the token made from them."""


class InvalidRecordError(WillSuiteError):
    """Values that the documents don't allow; found before anything was sent."""


class RejectedError(WillSuiteError):
    """The server refused the request with a 4xx; sending it again changes nothing."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


class NotFoundError(RejectedError):
    """404: no such record, or no such path at this base URL."""


class ContractError(WillSuiteError):
    """JSON arrived, but it isn't the documented shape; `reason` is a stable code."""


class TooLongError(ContractError):
    """An answer far longer than any should be, or without end: for a write, of unknown effect."""


class TransientError(WillSuiteError):
    """It may work later; the client has already tried as often as it is allowed to."""


class TokenUnavailableError(TransientError):
    """The token endpoint can't be reached or keeps failing; it has been retried already."""


class UnreachableError(TransientError):
    """No connection: the request was certainly not carried out."""


class AnswerLostError(TransientError):
    """The connection broke, timed out or cut the body: for a write, the effect is unknown."""


class ServerError(TransientError):
    """A 5xx: for a write, the effect is unknown."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, status)
        self.status = status

    def __str__(self) -> str:
        return str(self.args[0])


class NotJsonError(TransientError):
    """A success status with a body that is not JSON, for instance a log-in page."""


class RateLimitedError(TransientError):
    """The server asks for a longer wait than `pacing` accepts."""
