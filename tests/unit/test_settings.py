"""Settings: environment before file, wrong ones refused by name in Chinese."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import Settings, load_settings
from huiying.domain.errors import InvalidInput


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("HUIYING_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HUIYING_DATA_DIR", str(tmp_path))


def test_the_environment_comes_before_the_file_and_an_argument_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "huiying.toml").write_text('port = 1001\nlease_seconds = 40\ndesk_phone = "0858-1"\n')
    monkeypatch.setenv("HUIYING_PORT", "1002")
    assert (load_settings().port, load_settings().lease_seconds) == (1002, 40)
    assert load_settings(port=1003).port == 1003
    assert load_settings(port=None).port == 1002


def test_our_tables_lie_in_a_file_of_their_own(tmp_path: Path):
    made = load_settings()
    assert made.store_url == f"sqlite:///{tmp_path}/huiying.db"
    assert "prefect" not in made.store_url
    assert load_settings(database_url="postgresql://db/x").store_url == "postgresql://db/x"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8765"),
        ("0.0.0.0", "http://127.0.0.1:8765"),
        ("::", "http://127.0.0.1:8765"),
        ("::1", "http://[::1]:8765"),
    ],
)
def test_the_local_address_is_one_that_can_be_opened(host: str, url: str):
    assert load_settings(host=host).local_url == url


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("nonsense = 1", "nonsense"),
        ("port = 0", "port"),
        ('port = "x"', "port"),
        ('public_url = "ftp://x"', "public_url"),
        ('public_url = "https://x/?a=1"', "public_url"),
        ('node = "a/b"', "node"),
        ('log_level = "LOUD"', "log_level"),
        ('prefect_enabled = "maybe"', "prefect_enabled"),
        ("port = [", "huiying.toml"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, line: str, name: str):
    (tmp_path / "huiying.toml").write_text(line)
    with pytest.raises(InvalidInput) as refused:
        load_settings()
    assert refused.value.field == name
    assert any("\u4e00" <= character <= "\u9fff" for character in refused.value.message)


def test_every_default_holds():
    made = Settings()
    assert (made.host, made.port, made.prefect_port) == ("127.0.0.1", 8765, 4210)
    assert made.public_url == ""
    assert made.allow_loopback_channels is False
