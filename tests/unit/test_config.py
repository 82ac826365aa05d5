"""The process refuses settings that are unknown, weak or impossible, and names the setting, never its value."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from app.config import Settings, load_settings, require_credentials
from app.config_listing import described
from app.config_names import refuse_unknown_names
from app.config_secrets import weakness
from app.domain.entities import Kind
from app.domain.exceptions import ConfigurationError
from app.domain.model_types import MODEL_TYPES, RECOMMENDER_NAMES
from app.domain.recommender import MEMBER_OF_TYPE
from app.models import RECOMMENDERS

GOOD_SECRET = "kJ8#vQ2!pL5@xN9$wR3%tM7^zB1&hC4*"
HOSTILE_VALUE = "canary-5f1c"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.upper().startswith("ENCORE_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> ConfigurationError:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return caught.value


def test_the_defaults_need_nothing() -> None:
    assert load_settings().database_url == "sqlite+aiosqlite:///./var/encore.db"


def test_the_environment_beats_the_file_and_the_file_beats_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "encore.yaml"
    file.write_text("port: 9000\nlist_size: 50\n")
    monkeypatch.setenv("ENCORE_CONFIG_FILE", str(file))
    monkeypatch.setenv("ENCORE_PORT", "9001")
    settings = load_settings()
    assert (settings.port, settings.list_size, settings.history_limit) == (9001, 50, 200)
    assert load_settings(port=9002).port == 9002


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("ENCORE_DATABSE_URL", "ENCORE_DATABASE_URL"),
        ("encore_port", "ENCORE_PORT"),
        ("ENCORE_JWT_SECERT", "ENCORE_JWT_SECRET"),
    ],
)
def test_a_misspelt_setting_is_refused_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, name: str, suggestion: str
) -> None:
    error = refusal(monkeypatch, **{name: HOSTILE_VALUE})
    assert error.setting == name
    assert str(error).endswith(f"did you mean {suggestion}?")
    assert HOSTILE_VALUE not in str(error)


def test_names_of_others_are_left_alone() -> None:
    refuse_unknown_names({"PATH": "x", "ENCORE_TEST_REDIS_URL": "x", "ENCORE_BENCH_DATA": "x", "ENCORES": "x"}, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENCORE_LIST_TTL_SECONDS", "0"),
        ("ENCORE_LIST_TTL_SECONDS", "-1"),
        ("ENCORE_LIST_TTL_SECONDS", "1e9"),
        ("ENCORE_DATABASE_POOL_SIZE", "0"),
        ("ENCORE_DATABASE_POOL_SIZE", "21"),
        ("ENCORE_DATABASE_TIMEOUT_SECONDS", "0"),
        ("ENCORE_DATABASE_TIMEOUT_SECONDS", "inf"),
        ("ENCORE_DATABASE_TIMEOUT_SECONDS", "nan"),
        ("ENCORE_WEIGHT_LIKE", "nan"),
        ("ENCORE_PORT", HOSTILE_VALUE),
        ("ENCORE_ENVIRONMENT", HOSTILE_VALUE),
        ("ENCORE_LOG_LEVEL", HOSTILE_VALUE),
    ],
)
def test_an_impossible_value_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    error = refusal(monkeypatch, **{name: value})
    assert error.setting == name
    assert HOSTILE_VALUE not in str(error)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "changeme",
        "short-but-random-8f3k2",
        "changeme" * 8,
        "a" * 64,
        "your-secret-key-with-more-than-32-bytes",
        "12" * 20,
        GOOD_SECRET[:12] * 3,
        "qwertyuiopasdfghjklzxcvbnm1234567890",
        "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.",
        "1q2w3e4r5t6y7u8i9o0p1q2w3e4r5t6y7u8i9o",
        "zyxwvutsrqponmlkjihgfedcba9876543210",
        "asdfqwerzxcv1234ASDFQWERZXCV!@#$",
        "11112222333344445555666677778888",
        "deadbeefdeadbeefcafebabecafebabe",
        "0123456789abcdefghijklmnopqrstuvwxyz",
        "c0rrect h0rse battery staple and more",
        "Encore-Recommendation-Service-Key-2026",
        GOOD_SECRET + "\n",
    ],
)
@pytest.mark.parametrize("name", ["ENCORE_JWT_SECRET", "ENCORE_CURSOR_SECRET"])
def test_a_weak_secret_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, name: str, secret: str) -> None:
    error = refusal(monkeypatch, **{name: secret})
    assert error.setting == name
    assert not secret or secret not in str(error)


@pytest.mark.parametrize("seed", range(50))
def test_random_secrets_of_32_bytes_in_any_writing_are_taken(seed: int) -> None:
    data = random.Random(seed).randbytes(32)
    for secret in (data.hex(), base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode().rstrip("=")):
        assert weakness(secret) is None


def test_a_random_secret_is_taken_and_an_example_only_in_a_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_JWT_SECRET", GOOD_SECRET)
    assert load_settings().jwt_secret is not None
    monkeypatch.setenv("ENCORE_JWT_SECRET", "changeme" * 8)
    monkeypatch.setenv("ENCORE_ENVIRONMENT", "demo")
    assert load_settings().environment == "demo"


def test_a_server_without_anything_to_verify_tokens_with_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_JWT_SECRET"):
        require_credentials(load_settings())
    require_credentials(load_settings(jwt_jwks_url="https://issuer.test/keys"))


@pytest.mark.parametrize(
    ("environment", "setting"),
    [
        (
            {"ENCORE_JWT_SECRET": GOOD_SECRET, "ENCORE_JWT_JWKS_URL": "https://issuer.test/keys"},
            "ENCORE_JWT_JWKS_URL",
        ),
        ({"ENCORE_MAX_BULK_BODY_BYTES": "1024"}, "ENCORE_MAX_BULK_BODY_BYTES"),
        ({"ENCORE_LIST_TTL_SECONDS": "1"}, "ENCORE_MEMORY_LIST_TTL_SECONDS"),
        ({"ENCORE_REQUEST_DEADLINE_SECONDS": "1"}, "ENCORE_DATABASE_TIMEOUT_SECONDS"),
        ({"FORWARDED_ALLOW_IPS": "*"}, "FORWARDED_ALLOW_IPS"),
        ({"FORWARDED_ALLOW_IPS": "::/0"}, "FORWARDED_ALLOW_IPS"),
        ({"ENCORE_CONSUME_HEARTBEAT_SECONDS": "30"}, "ENCORE_CONSUME_HEARTBEAT_SECONDS"),
        ({"ENCORE_TRAIN_TIME_LIMIT_SECONDS": "60"}, "ENCORE_TRAIN_TIME_BUDGET_SECONDS"),
        ({"ENCORE_EXPLORE_SHARE": "0.1", "ENCORE_LIST_SIZE": "5"}, "ENCORE_EXPLORE_POSITION"),
        ({"ENCORE_ENVIRONMENT": "demo", "ENCORE_HOST": "0.0.0.0"}, "ENCORE_HOST"),
        ({"ENCORE_ENVIRONMENT": "demo", "ENCORE_HOST": "::"}, "ENCORE_HOST"),
        ({"ENCORE_ENVIRONMENT": "test", "ENCORE_HOST": "10.1.2.3"}, "ENCORE_HOST"),
        ({"ENCORE_DATABASE_URL": "sqlite+aiosqlite:///:memory:"}, "ENCORE_DATABASE_URL"),
    ],
)
def test_an_impossible_combination_names_the_setting_to_change(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], setting: str
) -> None:
    assert refusal(monkeypatch, **environment).setting == setting


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("ENCORE_TRUSTED_PROXIES", value)
            for value in (
                *(
                    "0.0.0.0/0",
                    "::/0",
                    "*",
                    "0.0.0.0/1,128.0.0.0/1",
                    "::ffff:0.0.0.0/96",
                    "2000::/3",
                ),
                *("not-an-address", "10.0.0.1/8", "10.0.0.300", ",", "10.0.0.1, *"),
            )
        ),
        ("ENCORE_JWT_ISSUER", ""),
        ("ENCORE_JWT_ISSUER", " "),
        ("ENCORE_JWT_AUDIENCE", ""),
        ("ENCORE_JWT_AUDIENCE", " encore"),
        ("ENCORE_JWT_JWKS_URL", "http://issuer.test/keys"),
        ("ENCORE_JWT_JWKS_URL", "file:///etc/passwd"),
        ("ENCORE_JWT_JWKS_URL", "https://"),
        ("ENCORE_JWT_JWKS_FILE", "/no/such/file"),
        ("ENCORE_TRAIN_MODEL_TYPE", "hybird"),
        ("ENCORE_TRAIN_MODEL_TYPE", ""),
        ("ENCORE_HOST", ""),
        ("ENCORE_HOST", "no host"),
        ("ENCORE_CONSUME_GROUP", " encore"),
    ],
)
def test_a_senseless_value_is_refused_by_the_name_of_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    error = refusal(monkeypatch, **{name: value})
    assert error.setting == name
    assert value.strip(" ,*") in ("", *value[:1]) or value not in str(error).removeprefix(name)


def test_no_event_that_counts_is_no_recommender(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(monkeypatch, **{f"ENCORE_WEIGHT_{kind.name}": "0" for kind in Kind}).setting == "ENCORE_WEIGHT_WATCH"


@pytest.mark.parametrize("value", ["", "10.0.0.0/8", "127.0.0.1, ::1", "fd00::/8", "2001:db8::/32", "::ffff:10.0.0.1"])
def test_proxies_of_ones_own_are_taken(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ENCORE_TRUSTED_PROXIES", value)
    assert load_settings().trusted_proxies == value


def test_the_types_of_models_are_those_that_there_are() -> None:
    assert set(RECOMMENDER_NAMES) == set(RECOMMENDERS.names())
    assert {*RECOMMENDER_NAMES, *MEMBER_OF_TYPE} == MODEL_TYPES


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("databse_url: x", "did you mean database_url?"),
        ("- a\n- b", "one mapping"),
        (f"port: [{HOSTILE_VALUE}", "not valid YAML"),
    ],
)
def test_a_broken_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "encore.yaml").write_text(content)
    error = refusal(monkeypatch, ENCORE_CONFIG_FILE=str(tmp_path / "encore.yaml"))
    assert error.setting == "ENCORE_CONFIG_FILE"
    assert problem in str(error)
    assert HOSTILE_VALUE not in str(error)


def test_a_file_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    error = refusal(monkeypatch, ENCORE_CONFIG_FILE=str(tmp_path / "absent.yaml"))
    assert str(error) == "ENCORE_CONFIG_FILE: cannot be read: No such file or directory"


def test_what_is_in_force_is_shown_with_secrets_and_passwords_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_JWT_SECRET", GOOD_SECRET)
    monkeypatch.setenv("ENCORE_DATABASE_URL", f"postgresql+asyncpg://encore:{HOSTILE_VALUE}@db:5432/encore")
    monkeypatch.setenv("ENCORE_CACHE_URL", f"redis://:{HOSTILE_VALUE}@cache:6379/0")
    monkeypatch.setenv("ENCORE_ARTIFACTS_URL", f"s3://key:{HOSTILE_VALUE}@bucket/prefix?secret_key={HOSTILE_VALUE}")
    shown = described(load_settings())
    assert shown["ENCORE_JWT_SECRET"] == {"value": "***", "source": "environment"}
    assert shown["ENCORE_DATABASE_URL"]["value"] == "postgresql+asyncpg://encore:***@db:5432/encore"
    assert shown["ENCORE_PORT"] == {"value": 8080, "source": "default"}
    assert GOOD_SECRET not in str(shown)
    assert HOSTILE_VALUE not in str(shown)


def test_settings_do_not_show_their_secret() -> None:
    assert GOOD_SECRET not in repr(Settings(jwt_secret=GOOD_SECRET))


def test_a_secret_may_come_from_a_file_as_docker_and_kubernetes_mount_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "jwt").write_text(f"{GOOD_SECRET}\n")
    (tmp_path / "database").write_text("postgresql+asyncpg://encore:pw@db/encore\r\n")
    monkeypatch.setenv("ENCORE_JWT_SECRET_FILE", str(tmp_path / "jwt"))
    monkeypatch.setenv("ENCORE_DATABASE_URL_FILE", str(tmp_path / "database"))

    settings = load_settings()

    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() == GOOD_SECRET
    assert settings.database_url == "postgresql+asyncpg://encore:pw@db/encore"
    assert described(settings)["ENCORE_JWT_SECRET"] == {"value": "***", "source": "secret file"}


def test_a_secret_from_a_file_is_judged_like_any_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "jwt").write_text("short")

    assert refusal(monkeypatch, ENCORE_JWT_SECRET_FILE=str(tmp_path / "jwt")).setting == "ENCORE_JWT_SECRET"


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read"), (b"", "empty"), (b" \n", "empty"), (b"\xff\xfe", "UTF-8"), (b"x" * 65_537, "more than")],
)
def test_a_secret_file_that_is_missing_or_no_secret_names_the_variable_and_never_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / HOSTILE_VALUE).write_bytes(content)

    error = refusal(monkeypatch, ENCORE_CURSOR_SECRET_FILE=str(tmp_path / HOSTILE_VALUE))

    assert error.setting == "ENCORE_CURSOR_SECRET_FILE"
    assert problem in str(error)
    assert HOSTILE_VALUE not in str(error)


def test_a_secret_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "jwt").write_text(GOOD_SECRET)

    error = refusal(monkeypatch, ENCORE_JWT_SECRET=GOOD_SECRET, ENCORE_JWT_SECRET_FILE=str(tmp_path / "jwt"))

    assert error.setting == "ENCORE_JWT_SECRET_FILE"


def test_settings_that_hold_no_secret_come_from_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "port").write_text("80")

    assert refusal(monkeypatch, ENCORE_PORT_FILE=str(tmp_path / "port")).setting == "ENCORE_PORT_FILE"


def test_only_systems_that_are_known_can_be_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(compat="movies, posts").compat_systems == ("movies", "posts")
    for wrong in ("films", "posts,posts"):
        assert refusal(monkeypatch, ENCORE_COMPAT=wrong).setting == "ENCORE_COMPAT"
