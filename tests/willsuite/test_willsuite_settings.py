"""The WILLSUITE_* variables: what is accepted, and how a refusal reads."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from willsuite import Settings, load_settings
from willsuite.errors import ConfigurationError

SECRET = "s3cr3t-value"


def load(**overrides):
    return load_settings(**{"client_id": "someone", "client_secret": SECRET, **overrides})


def refusal(**overrides) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load(**overrides)
    return str(refused.value)


def test_only_the_credentials_have_no_default():
    settings = load()
    assert settings.base_url == "https://client.willsuite.co.uk/engine/api"
    assert settings.token_endpoint == "https://client.willsuite.co.uk/engine/api/oauth/token"
    assert settings.token_url is None
    assert settings.max_concurrency == 8
    assert settings.requests_per_minute is None
    assert settings.timezone == "Europe/London"
    assert settings.settle_seconds == 90
    assert settings.read_timeout_seconds == 75
    assert settings.max_body_mb == 20


def test_the_token_url_overrides_the_endpoint_below_the_base_url():
    settings = load(token_url="https://id.example.org/oauth/token/")
    assert settings.token_endpoint == "https://id.example.org/oauth/token"


def test_trailing_slashes_of_the_base_url_are_dropped():
    settings = load(base_url="https://example.org/api//")
    assert settings.base_url == "https://example.org/api"
    assert settings.token_endpoint == "https://example.org/api/oauth/token"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/api",
        "http://127.0.0.1",
        "http://127.0.0.2:1",
        "http://[::1]:8080/api",
        "https://example.org",
    ],
)
def test_https_anywhere_and_plain_http_on_this_machine_are_accepted(url):
    assert load(base_url=url, token_url=url).base_url == url


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://LOCALHOST/api", "http://localhost/api"),
        ("HTTPS://Example.org:443/Api/", "https://example.org/Api"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://example.org:80/api", "https://example.org:80/api"),
    ],
)
def test_one_place_has_one_url_however_it_is_written(url, plain):
    assert load(base_url=url).base_url == plain
    assert load(base_url=url).account_name == load(base_url=plain).account_name


def test_an_account_is_its_keys_at_its_url_unless_it_has_a_name():
    keys = [load(), load(client_id="another"), load(base_url="https://example.org/api")]
    names = [settings.account_name for settings in keys]
    named = load(account=" Acme "), load(account="Acme", client_id="another")
    assert len({*names, named[0].account_name}) == 4
    assert named[0].account_name == named[1].account_name
    assert load(client_id=" someone\n").account_name == names[0]


def test_the_name_that_files_bear_can_be_said_outright_when_the_keys_were_renewed():
    before = load().account_name
    assert load(client_id="renewed").account_name != before
    assert load(client_id="renewed", account=before).account_name == before


def test_files_of_earlier_versions_keep_their_account():
    assert load().account_name == "99ddbf3ac4a9e17b"


@pytest.mark.parametrize("name", ["base_url", "token_url"])
@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://example.org/hidden", "https://"),
        ("http://localhost.example.org/hidden", "https://"),
        ("http://127.0.0.1.example.org/hidden", "https://"),
        ("http://0.0.0.0/hidden", "https://"),
        ("http://10.0.0.1/hidden", "https://"),
        ("http://[fe80::1]/hidden", "https://"),
        ("ftp://example.org/hidden", "https://"),
        ("file:///hidden", "https://"),
        ("example.org/hidden", "https://"),
        ("//example.org/hidden", "https://"),
        ("https:///hidden", "https://"),
        ("https://user@example.org/hidden", "user name"),
        ("https://user:p4ss@example.org/hidden", "user name"),
        ("https://@example.org/hidden", "user name"),
        ("http://127.0.0.1\\@example.org/hidden", "user name"),
        ("https://example.org/hidden?a=b", "query"),
        ("https://example.org/hidden#a", "fragment"),
        ("https://example.org:99999/hidden", "URL"),
        ("https://example.org:port/hidden", "URL"),
        ("https://[::1/hidden", "URL"),
    ],
)
def test_a_url_to_which_no_token_may_be_sent_is_refused_without_repeating_it(name, url, complaint):
    message = refusal(**{name: url})
    assert message.startswith(f"WILLSUITE_{name.upper()} ")
    assert complaint in message
    assert "hidden" not in message
    assert "p4ss" not in message
    assert message.endswith(".")


def test_a_password_in_a_url_that_cannot_be_read_at_all_stays_out_of_the_message():
    assert "wørd" not in refusal(base_url="https://user:pass℀wørd@example.org/api")


@pytest.mark.parametrize("url", ["https://example.org/api?", "https://example.org/api#"])
def test_an_empty_query_or_fragment_is_refused_or_dropped(url):
    # kept, it would turn every path behind it into a query: /api?/cases
    try:
        settings = load(base_url=url)
    except ConfigurationError:
        return
    assert settings.base_url == "https://example.org/api"


@pytest.mark.parametrize(
    "url",
    ["https://example.org/api ", " https://example.org/api", "https://exam\nple.org/api"],
)
def test_white_space_in_a_url_is_refused_or_dropped(url):
    try:
        settings = load(base_url=url)
    except ConfigurationError:
        return
    assert settings.base_url == "https://example.org/api"


def test_missing_credentials_are_named_in_one_sentence():
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert str(refused.value) == (
        "WILLSUITE_CLIENT_ID and WILLSUITE_CLIENT_SECRET must be set, in the environment or in "
        ".env."
    )
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


@pytest.mark.parametrize("present", ["client_id", "client_secret"])
def test_a_single_missing_credential_is_the_only_one_named(present):
    absent = {"client_id": "CLIENT_SECRET", "client_secret": "CLIENT_ID"}[present]
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**{present: "given"})
    assert str(refused.value) == f"WILLSUITE_{absent} must be set, in the environment or in .env."


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.setenv("WILLSUITE_CLIENT_ID", "someone")
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", "")
    monkeypatch.setenv("WILLSUITE_BASE_URL", "")
    monkeypatch.setenv("WILLSUITE_REQUESTS_PER_MINUTE", "")
    with pytest.raises(ConfigurationError, match=r"^WILLSUITE_CLIENT_SECRET must be set"):
        load_settings()
    monkeypatch.setenv("WILLSUITE_CLIENT_SECRET", SECRET)
    assert load_settings().base_url == "https://client.willsuite.co.uk/engine/api"
    assert load_settings().requests_per_minute is None


def test_the_environment_wins_over_the_env_file_and_overrides_win_over_both(monkeypatch):
    Path(".env").write_text(
        f"WILLSUITE_CLIENT_ID=from-file\nWILLSUITE_CLIENT_SECRET={SECRET}\n"
        "WILLSUITE_MAX_CONCURRENCY=2\nWILLSUITE_SETTLE_SECONDS=1\nUNRELATED=x\n"
    )
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "3")
    monkeypatch.setenv("WILLSUITE_SETTLE_SECONDS", "2")
    settings = load_settings(settle_seconds=3)
    assert settings.client_id == "from-file"
    assert settings.client_secret.get_secret_value() == SECRET
    assert (settings.max_concurrency, settings.settle_seconds) == (3, 3)


def test_the_env_file_of_the_project_is_found_from_any_folder_and_the_nearer_one_wins(
    monkeypatch, tmp_path
):
    files = tmp_path / "project.env", ".env"
    monkeypatch.setitem(Settings.model_config, "env_file", files)
    files[0].write_text("WILLSUITE_CLIENT_ID=project\nWILLSUITE_CLIENT_SECRET=s\n")
    assert load_settings().client_id == "project"
    Path(".env").write_text("WILLSUITE_CLIENT_ID=here\n")
    assert load_settings().client_id == "here"


@pytest.mark.parametrize("content", [b"# \xa3\n", "WILLSUITE_CLIENT_ID=x\n".encode("utf-16")])
def test_an_env_file_in_another_encoding_is_a_configuration_error(content):
    Path(".env").write_bytes(content)
    with pytest.raises(ConfigurationError):
        load_settings(client_id="someone", client_secret=SECRET)


@pytest.mark.parametrize("name", ["", "Nowhere/Town", "../../etc/passwd", "Europe", "BST+1 "])
def test_a_time_zone_that_does_not_exist_is_refused(name):
    message = refusal(timezone=name)
    assert message == "WILLSUITE_TIMEZONE must be a time zone name such as Europe/London."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_concurrency", 1),
        ("max_concurrency", "64"),
        ("requests_per_minute", "0.5"),
        ("settle_seconds", 0),
        ("read_timeout_seconds", 0.01),
        ("max_body_mb", "0.5"),
        ("job_poll_seconds", 1),
        ("job_timeout_seconds", 1),
        ("timezone", "Asia/Tokyo"),
    ],
)
def test_values_inside_the_bounds_are_accepted(name, value):
    accepted = getattr(load(**{name: value}), name)
    assert accepted == type(accepted)(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_concurrency", 0),
        ("max_concurrency", 65),
        ("max_concurrency", "98765x"),
        ("max_concurrency", 1.5),
        ("requests_per_minute", 0),
        ("requests_per_minute", -98765),
        ("requests_per_minute", "nan"),
        ("settle_seconds", -0.1),
        ("settle_seconds", "nan"),
        ("read_timeout_seconds", 0),
        ("max_body_mb", 0),
        ("max_body_mb", "inf"),
        ("job_poll_seconds", 0),
        ("job_timeout_seconds", -1),
        ("client_id", ""),
        ("client_secret", ""),
    ],
)
def test_values_outside_the_bounds_are_refused_by_the_name_of_their_variable(name, value):
    message = refusal(**{name: value})
    assert message.startswith(f"WILLSUITE_{name.upper()} must ")
    assert "98765" not in message
    assert SECRET not in message


def test_several_faults_are_reported_at_once(monkeypatch):
    monkeypatch.setenv("WILLSUITE_MAX_CONCURRENCY", "0")
    monkeypatch.setenv("WILLSUITE_TIMEZONE", "Nowhere/Town")
    message = refusal()
    assert "WILLSUITE_MAX_CONCURRENCY" in message
    assert "WILLSUITE_TIMEZONE" in message
    assert message.count(".") == 1


def test_the_secret_is_in_no_text_made_from_the_settings():
    settings = load()
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert SECRET not in text
    assert settings.client_secret.get_secret_value() == SECRET


def test_settings_cannot_be_changed_after_they_were_checked():
    settings = load()
    with pytest.raises(ValidationError):
        settings.base_url = "http://example.org"
    assert settings.base_url.startswith("https://")
