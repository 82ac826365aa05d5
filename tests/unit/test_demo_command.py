"""What `encore demo` decides before it starts: its settings, its port, its lines."""

from __future__ import annotations

import os
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.commands.demo import _curl_lines, free_port, use_folder
from app.config import load_settings
from app.domain.exceptions import ConfigurationError, EncoreError

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ENCORE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ENCORE_CONFIG_FILE", "")  # so that what the command sets is taken back afterwards
    monkeypatch.delenv("ENCORE_CONFIG_FILE")


def test_the_first_run_makes_settings_with_a_secret_of_their_own_and_the_second_keeps_them(tmp_path: Path) -> None:
    use_folder(tmp_path / "demo")
    first = load_settings()
    use_folder(tmp_path / "demo")
    assert load_settings() == first
    assert first.environment == "demo"
    assert first.jwt_secret is not None
    assert first.database_url == f"sqlite+aiosqlite:///{tmp_path}/demo/encore.db"
    assert stat.S_IMODE((tmp_path / "demo" / "encore.yaml").stat().st_mode) == 0o600
    assert [file.name for file in (tmp_path / "demo").iterdir()] == ["encore.yaml"]


def test_two_demos_have_two_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_folder(tmp_path / "one")
    first = load_settings().jwt_secret
    monkeypatch.delenv("ENCORE_CONFIG_FILE")
    use_folder(tmp_path / "two")
    assert load_settings().jwt_secret != first


def test_settings_that_somebody_has_chosen_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("port: 9000\n")
    monkeypatch.setenv("ENCORE_CONFIG_FILE", str(tmp_path / "mine.yaml"))
    use_folder(tmp_path / "demo")
    assert load_settings().port == 9000
    assert not (tmp_path / "demo").exists()


def test_a_busy_port_is_passed_over_unless_it_was_asked_for() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port, False) > port
        with pytest.raises(ConfigurationError, match=f"port {port} is in use"):
            free_port("127.0.0.1", port, True)
    assert free_port("127.0.0.1", port, True) == port


def test_the_lines_show_the_list_send_the_event_and_show_the_list_again() -> None:
    answer = {"recommendations": [{"item_id": "film-007"}]}
    first, event, last = _curl_lines("http://x", "http://x/list", "TOKEN", answer, NOW)
    assert first == last == "curl -s -H 'Authorization: Bearer TOKEN' 'http://x/list'"
    assert '"video_id": "film-007"' in event
    assert '"timestamp": "2026-11-21T09:30:00Z"' in event


def test_an_empty_list_is_no_demo() -> None:
    with pytest.raises(EncoreError, match="empty"):
        _curl_lines("http://x", "http://x/list", "TOKEN", {"recommendations": []}, NOW)
