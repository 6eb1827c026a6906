"""Where the account is, with which credentials, and how hard to press it.

Belongs here: reading and checking the `WILLSUITE_*` variables (environment or `.env`), and which
account they mean. Does not: Prefect blocks (`tasks/connection.py`), which build the same
`Settings`.

Every refusal is a `ConfigurationError` with one sentence and no value in it.
"""

import hashlib
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from willsuite.errors import ConfigurationError

PROJECT = Path(__file__).resolve().parent.parent
"""Where `.env` is looked for, too: a notebook may be in any folder."""
DEFAULT_BASE_URL = "https://client.willsuite.co.uk/engine/api"
LEAST_KEY_LETTERS = 32


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_url(url: str) -> str:
    """`url` in its plainest form, if a token may be sent to it.

    One form for one place, since it is part of an account's identity: scheme and host in small
    letters, neither the scheme's own port nor a trailing slash.
    """
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("must not contain white space")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
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
    shown_host = f"[{host}]" if ":" in host else host
    is_usual_port = port in (None, {"http": 80, "https": 443}[parts.scheme])
    place = shown_host if is_usual_port else f"{shown_host}:{port}"
    return f"{parts.scheme}://{place}{parts.path}".rstrip("/")


def _checked_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a time zone name such as Europe/London") from None
    return name


def _checked_case_url(url: str) -> str:
    if url and not (url.startswith("https://") and "{case_id}" in url):
        raise ValueError("must start with https:// and have {case_id} in it")
    return url


_AnySettings = TypeVar("_AnySettings", bound=BaseSettings)
Url = Annotated[str, AfterValidator(_checked_url)]


def _checked_key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < LEAST_KEY_LETTERS:
        raise ValueError(f"must have at least {LEAST_KEY_LETTERS} characters")
    return key


class Settings(BaseSettings):
    """One WillSuite account and the manners towards it.

    Field `x` is the variable `WILLSUITE_X`; an empty variable counts as not set.
    """

    model_config = SettingsConfigDict(
        env_prefix="WILLSUITE_",
        env_file=(PROJECT / ".env", ".env"),  # the nearer one is stronger
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    base_url: Url = DEFAULT_BASE_URL
    token_url: Url | None = None
    """None stands for `<base_url>/oauth/token`; the vendor's page leaves the base open."""
    client_id: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    client_secret: SecretStr = Field(min_length=1)
    account: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    """A name for the account that outlives its API keys; empty: the keys are the account."""
    max_concurrency: int = Field(default=8, ge=1, le=64)
    requests_per_minute: float | None = Field(default=None, gt=0)
    """A ceiling of our own; without it the pace is learned from the server."""
    timezone: Annotated[str, AfterValidator(_checked_zone)] = "Europe/London"
    case_url: Annotated[str, AfterValidator(_checked_case_url)] = ""
    """Where people find a case in WillSuite, with `{case_id}` in it; for links in files."""
    settle_seconds: float = Field(default=90, ge=0)
    read_timeout_seconds: float = Field(default=75, gt=0)
    """Deadline for one whole request, connection and body included."""
    max_body_mb: float = Field(default=20, gt=0, le=1000)
    """A longer answer, as it comes or unpacked, is given up; a page of 100 cases has below 1."""
    job_poll_seconds: float = Field(default=300, gt=0)
    job_timeout_seconds: float = Field(default=7200, gt=0)

    @property
    def account_name(self) -> str:
        """What files, locks and variables of the account are called: 16 hexadecimal digits.

        Two keys of one CRM can't be told to be of one account; `account` tells it, by a name, or
        by these digits of the keys that were used before.
        """
        if re.fullmatch(r"[0-9a-f]{16}", self.account):
            return self.account
        identity = f"account {self.account}" if self.account else self.client_id
        # a hash: the client id is nobody else's business
        return hashlib.sha256(f"{self.base_url}\n{identity}".encode()).hexdigest()[:16]

    @property
    def token_endpoint(self) -> str:
        """Where tokens come from."""
        return self.token_url or f"{self.base_url}/oauth/token"


class _PseudonymSettings(BaseSettings):
    """Apart from `Settings`: who makes pseudonyms may have no keys of the API."""

    model_config = Settings.model_config

    pseudonym_key: Annotated[SecretStr, AfterValidator(_checked_key)]


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and `.env`; `overrides` win over both.

    Raises:
        ConfigurationError: something is missing or can't be right; one sentence.
    """
    return _loaded(Settings, overrides)


def load_pseudonym_key() -> bytes:
    """The key of pseudonyms, `WILLSUITE_PSEUDONYM_KEY`.

    Raises:
        ConfigurationError: it is missing or too short; one sentence.
    """
    key = _loaded(_PseudonymSettings, {}).pseudonym_key
    return key.get_secret_value().encode()


def _loaded(kind: type[_AnySettings], values: dict[str, Any]) -> _AnySettings:
    try:
        return kind(**values)
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
