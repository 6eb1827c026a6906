"""Where the account is, with which credentials, and how hard to press it.

Belongs here: reading and checking the `WILLSUITE_*` variables (environment or `.env`).
Does not: Prefect blocks (`tasks/connection.py`), which build the same `Settings`.

Every refusal is a `ConfigurationError` with one sentence and no value in it.
"""

import ipaddress
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from willsuite.errors import ConfigurationError

DEFAULT_BASE_URL = "https://client.willsuite.co.uk/engine/api"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_url(url: str) -> str:
    """`url` without a trailing slash, if a token may be sent to it."""
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("must not contain white space")
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if not host or parts.scheme not in ("http", "https"):
        raise ValueError("must be a URL that starts with https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    if "?" in url or "#" in url:
        raise ValueError("must not contain a query or fragment (nothing after ? or #)")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(
            "must start with https://, because the token and the clients' data would cross "
            "the network readable (plain http is accepted for this machine only)"
        )
    return url.rstrip("/")


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone name such as Europe/London") from None
    return name


Url = Annotated[str, AfterValidator(_checked_url)]


class Settings(BaseSettings):
    """One WillSuite account and the manners towards it.

    Field `x` is the variable `WILLSUITE_X`; an empty variable counts as not set.
    """

    model_config = SettingsConfigDict(
        env_prefix="WILLSUITE_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    base_url: Url = DEFAULT_BASE_URL
    token_url: Url | None = None
    """None stands for `<base_url>/oauth/token`; the vendor's page leaves the base open."""
    client_id: str = Field(min_length=1)
    client_secret: SecretStr = Field(min_length=1)
    max_concurrency: int = Field(default=8, ge=1, le=64)
    requests_per_minute: float | None = Field(default=None, gt=0)
    """A ceiling of our own; without it the pace is learned from the server."""
    timezone: Annotated[str, AfterValidator(_checked_zone)] = "Europe/London"
    settle_seconds: float = Field(default=90, ge=0)
    read_timeout_seconds: float = Field(default=75, gt=0)
    """Deadline for one whole request, connection and body included."""
    job_poll_seconds: float = Field(default=300, gt=0)
    job_timeout_seconds: float = Field(default=7200, gt=0)

    @property
    def token_endpoint(self) -> str:
        """Where tokens come from."""
        return self.token_url or f"{self.base_url}/oauth/token"


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and `.env`; `overrides` win over both.

    Raises:
        ConfigurationError: something is missing or can't be right; one sentence.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_sentence(error)) from None
    except UnicodeDecodeError:
        raise ConfigurationError("The file .env must be saved as UTF-8.") from None


def _sentence(error: ValidationError) -> str:
    missing, wrong = [], []
    for problem in error.errors(include_input=False, include_url=False):
        variable = "WILLSUITE_" + str(problem["loc"][0] if problem["loc"] else "").upper()
        if problem["type"] == "missing":
            missing.append(variable)
        else:
            wrong.append(f"{variable} {_wording(problem['msg'])}")
    parts = []
    if missing:
        parts.append(f"{' and '.join(missing)} must be set, in the environment or in .env")
    parts.extend(wrong)
    return "; ".join(parts) + "."


def _wording(message: str) -> str:
    """pydantic's own words made to follow a variable's name."""
    message = message.removeprefix("Value error, ")
    for subject in ("Input should", "String should", "Value should"):
        message = message.replace(subject, "must")
    return message
