"""Answers that refuse, in Laravel's shape."""

from typing import Any

from aiohttp import web


class Refusal(Exception):
    """An answer in Laravel's error shape (facts.md 1.1, inferred)."""

    def __init__(self, status: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers

    def response(self) -> web.Response:
        """The refusal as it goes out."""
        return web.json_response(self.body, status=self.status, headers=self.headers)


def refusal(
    status: int, message: str, headers: dict[str, str] | None = None, **more: Any
) -> Refusal:
    """An answer to raise; `more` goes beside the message."""
    return Refusal(status, {"message": message, **more}, headers or {})


def server_error() -> Refusal:
    """An exception that nobody caught."""
    return refusal(500, "Server Error")


def oauth_refusal(status: int, code: str) -> Refusal:
    """As Passport refuses a token."""
    return refusal(status, "The request was refused.", error=code, error_description=code)


def invalid(name: str, text: str) -> Refusal:
    """A query parameter isn't as it must be."""
    return refusal(400, "The given data was invalid.", errors={name: [text]})


def no_results(model: str, key: str = "") -> Refusal:
    """There is no such record."""
    return refusal(404, f"No query results for model [{model}] {key}".rstrip())
