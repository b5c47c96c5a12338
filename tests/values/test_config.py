"""Options, from arguments and from the environment."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from imageproxy import Config, ConfigError


def test_no_variable_means_the_defaults() -> None:
    assert Config.from_env({}) == Config()


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_PROXY_BASE_URL", "https://example.com/")
    assert Config.from_env().base_url == "https://example.com"


def test_the_variables_of_the_go_original_keep_their_names_and_units() -> None:
    config = Config.from_env(
        {
            "IMAGE_PROXY_ENABLED": "false",
            "IMAGE_PROXY_BASE_URL": "https://example.com",
            "IMAGE_PROXY_CDN_URL": "https://cdn.example.com",
            "IMAGE_PROXY_CACHE_PATH": "/var/cache/images",
            "IMAGE_PROXY_CACHE_MAX_GB": "0.5",
            "IMAGE_PROXY_CACHE_TTL_DAYS": "7",
            "IMAGE_PROXY_CLEANUP_INTERVAL_MINUTES": "5",
            "IMAGE_PROXY_FETCH_TIMEOUT_SECONDS": "12",
            "IMAGE_PROXY_MAX_SOURCE_SIZE_MB": "3",
        }
    )
    assert config == Config(
        enabled=False,
        base_url="https://example.com",
        cdn_url="https://cdn.example.com",
        cache_path=Path("/var/cache/images"),
        cache_max_bytes=512 * 1024**2,
        cache_ttl_seconds=7 * 86400,
        cleanup_interval_seconds=300,
        fetch_timeout_seconds=12,
        max_source_bytes=3 * 1024**2,
    )


def test_zero_days_and_zero_minutes_mean_off() -> None:
    config = Config.from_env(
        {"IMAGE_PROXY_CACHE_TTL_DAYS": "0", "IMAGE_PROXY_CLEANUP_INTERVAL_MINUTES": "0"},
    )
    assert config.cache_ttl_seconds is None
    assert config.cleanup_interval_seconds is None


def test_every_other_field_has_a_variable_of_its_own_name() -> None:
    values: dict[str, str] = {
        "write_queue_max_bytes": "1000",
        "write_queue_max_age_seconds": "1.5",
        "flight_timeout_seconds": "9",
        "max_source_pixels": "12000000",
        "max_flights": "5",
        "memory_budget_bytes": "100000000",
        "admission_timeout_seconds": "3",
        "fetch_workers": "2",
        "decode_workers": "3",
        "plc_url": "https://plc.example.com",
        "identity_ttl_seconds": "60",
        "user_agent": "my-app/1.0",
        "allow_private_networks": "yes",
        "url_signing_key": "secret",
    }
    config = Config.from_env({f"IMAGE_PROXY_{name.upper()}": text for name, text in values.items()})
    default = Config()
    of_the_original = {
        "enabled", "base_url", "cdn_url", "cache_path", "cache_max_bytes", "cache_ttl_seconds",
        "cleanup_interval_seconds", "fetch_timeout_seconds", "max_source_bytes",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(Config)} == of_the_original | set(values)
    for name in values:
        assert getattr(config, name) != getattr(default, name), name


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_variable_is_no_variable(text: str) -> None:
    assert Config.from_env({"IMAGE_PROXY_CACHE_MAX_GB": text}) == Config()


@pytest.mark.parametrize("text", ["1", "t", "TRUE", "yes", "On"])
def test_words_for_true(text: str) -> None:
    assert Config.from_env({"IMAGE_PROXY_ALLOW_PRIVATE_NETWORKS": text}).allow_private_networks is True


@pytest.mark.parametrize("text", ["0", "f", "False", "NO", "off"])
def test_words_for_false(text: str) -> None:
    assert Config.from_env({"IMAGE_PROXY_ENABLED": text}).enabled is False


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ENABLED", "maybe"),
        ("BASE_URL", "example.com"),
        ("CDN_URL", "ftp://example.com"),
        ("CACHE_MAX_GB", "ten"),
        ("CACHE_MAX_GB", "-1"),
        ("CACHE_MAX_GB", "0"),
        ("CACHE_MAX_GB", "inf"),
        ("CACHE_MAX_GB", "nan"),
        ("CACHE_TTL_DAYS", "-1"),
        ("CACHE_TTL_DAYS", "nan"),
        ("FETCH_TIMEOUT_SECONDS", "0"),
        ("FETCH_TIMEOUT_SECONDS", "30s"),
        ("MAX_SOURCE_SIZE_MB", "0"),
        ("MAX_FLIGHTS", "1.5"),
        ("DECODE_WORKERS", "0"),
        ("USER_AGENT", "a\nb: c"),
        ("USER_AGENT", "näme"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_would_do(variable: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env({f"IMAGE_PROXY_{variable}": text})
    message = str(caught.value)
    assert f"IMAGE_PROXY_{variable}" in message
    assert repr(text) in message
    assert "must be" in message
    assert caught.value.option == f"IMAGE_PROXY_{variable}"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("enabled", 1),
        ("base_url", None),
        ("plc_url", ""),
        ("url_signing_key", ""),
        ("cache_path", 5),
        ("cache_path", ""),
        ("cache_max_bytes", 1.5),
        ("cache_ttl_seconds", 0),
        ("cleanup_interval_seconds", float("inf")),
        ("fetch_timeout_seconds", True),
        ("max_flights", -1),
        ("memory_budget_bytes", 40 * 1024**2 - 1),
        ("flight_timeout_seconds", 10**400),
        ("identity_ttl_seconds", 1e300),
        ("fetch_workers", 0),
    ],
)
def test_a_bad_option_is_named(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option) as caught:
        Config(**{option: value})
    assert caught.value.option == option
    assert caught.value.value == value


def test_options_that_depend_on_each_other_are_checked_together() -> None:
    variables = {"IMAGE_PROXY_MEMORY_BUDGET_BYTES": "8000000", "IMAGE_PROXY_MAX_SOURCE_SIZE_MB": "1"}
    assert Config.from_env(variables).memory_budget_bytes == 8_000_000
    with pytest.raises(ConfigError, match="IMAGE_PROXY_MEMORY_BUDGET_BYTES is '8000000'"):
        Config.from_env({"IMAGE_PROXY_MEMORY_BUDGET_BYTES": "8000000"})


def test_the_signing_key_is_never_shown() -> None:
    assert "secret" not in repr(Config(url_signing_key="secret"))
    with pytest.raises(ConfigError) as caught:
        Config.from_env({"IMAGE_PROXY_URL_SIGNING_KEY": "sec\nret"})
    assert "ret" not in str(caught.value).replace("secret", "")


def test_a_path_may_be_text() -> None:
    assert Config(cache_path="images").cache_path == Path("images")
