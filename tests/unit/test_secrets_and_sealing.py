"""Secrets: references, masking, sealing and the log's last step."""

from __future__ import annotations

import io
import logging
import re
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from config.logging import configure_logging, one_line
from config.sealed import CannotOpen, Sealer
from config.secrets import Secret, UnresolvedSecret, is_reference, mask, remember, resolve, resolve_settings


def test_references_are_resolved(tmp_path: Path):
    (tmp_path / "secret").write_text("from-file-123\nsecond line ignored\n")
    sealer = Sealer(tmp_path / "key")
    environment = {"ROBOT": "from-env-12345"}
    assert resolve("env:ROBOT", environment=environment).reveal() == "from-env-12345"
    assert resolve(f"file:{tmp_path / 'secret'}").reveal() == "from-file-123"
    assert resolve(sealer.seal("from-seal-123"), sealer.open).reveal() == "from-seal-123"


@pytest.mark.parametrize("reference", ["env:NOT_SET", "file:/nowhere/at/all", "enc:abc", "plain-text", ""])
def test_references_that_lead_nowhere_say_so_in_chinese(reference: str):
    with pytest.raises(UnresolvedSecret, match="。"):
        resolve(reference, environment={})


def test_empty_secret_file_is_refused(tmp_path: Path):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UnresolvedSecret, match="空"):
        resolve(f"file:{tmp_path / 'empty'}")


def test_only_references_are_touched_in_settings():
    settings = {"url": "https://x.example/", "secret": "env:S", "per_minute": 5}
    resolved = resolve_settings(settings, environment={"S": "value-of-s"})
    assert resolved["url"] == "https://x.example/"
    assert resolved["per_minute"] == 5
    assert resolved["secret"] == Secret("value-of-s")
    assert is_reference("file:/x")
    assert not is_reference("https://x")


def test_sealing_hides_and_opens(tmp_path: Path):
    sealer = Sealer(tmp_path / "key")
    sealed = sealer.seal("13812341234")
    assert sealed.startswith("enc:")
    assert "138" not in sealed
    assert sealer.open(sealed) == "13812341234"
    assert sealer.seal("x") != sealer.seal("x")
    assert Sealer(tmp_path / "key").open(sealed) == "13812341234"


def test_key_file_is_for_its_owner_only(tmp_path: Path):
    path = tmp_path / "deep" / "key"
    Sealer(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(CannotOpen, match="0600"):
        Sealer(path)


def test_broken_key_file_is_named(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text("nonsense")
    path.chmod(0o600)
    with pytest.raises(CannotOpen, match="密钥"):
        Sealer(path)


def test_changed_or_foreign_values_do_not_open(tmp_path: Path):
    sealer, other = Sealer(tmp_path / "a"), Sealer(tmp_path / "b")
    sealed = sealer.seal("secret")
    for bad in (sealed[:-2] + "AA", "enc:", "", other.seal("secret"), "enc:ü"):
        with pytest.raises(CannotOpen):
            sealer.open(bad)


def test_rotation_keeps_old_values_readable_until_the_old_key_goes(tmp_path: Path):
    sealer = Sealer(tmp_path / "key")
    old = sealer.seal("value")
    sealer.add_key()
    assert sealer.open(old) == "value"
    new = sealer.rotate(old)
    sealer.drop_old_keys()
    assert sealer.open(new) == "value"
    assert Sealer(tmp_path / "key").open(new) == "value"
    with pytest.raises(CannotOpen):
        sealer.open(old)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_two_processes_starting_together_end_up_with_one_key(tmp_path: Path):
    sealers: list[Sealer] = []
    threads = [threading.Thread(target=lambda: sealers.append(Sealer(tmp_path / "key"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealed = [sealer.seal("x") for sealer in sealers]
    assert all(sealer.open(text) == "x" for sealer in sealers for text in sealed)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("POST /robot/send?access_token=abc123&timestamp=1&sign=x%2By", ("abc123", "x%2By")),
        ("https://qyapi.example/cgi-bin/webhook/send?key=1a2b-3c4d", ("1a2b",)),
        ("https://open.example/open-apis/bot/v2/hook/0f3e-77aa-bb", ("0f3e-77aa",)),
        ("GET /a/7Kq2mX9cabcdefghijklmn HTTP/1.1", ("7Kq2mX9c",)),
        ("proxy http://officer:pa55word@10.0.0.1:3128", ("pa55word",)),
        ('{"password": "hunter22", "x": 1}', ("hunter22",)),
        ("Authorization: Bearer hy_abcdefghijk", ("hy_abcdefghijk",)),
        ("Proxy-Authorization: Basic dXNlcjpwYXNz", ("dXNlcjpwYXNz",)),
        ("webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", ("K5oZfz",)),
        ("secret=abc corpsecret=def1 token=ghi2", ("abc", "def1", "ghi2")),
        ("{'token': 'tok_123'}", ("tok_123",)),
        ("Address(name='x', email='zhang.san@example.gov.cn', mobile='13812341234')", ("zhang.san", "13812341234")),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, gone: tuple[str, ...]):
    masked = mask(text)
    assert "***" in masked
    for part in gone:
        assert part not in masked


@pytest.mark.parametrize(
    "text",
    [
        "事项 2026-0117 已登记",
        "GET /api/v1/incidents?limit=5",
        "design=flat monkey=banana",
        "/archive/2026/11",
        "https://duty.example.gov.cn/i/2026-0117",
        "1764000000123 13812.5 v13812341234 a@b",
    ],
)
def test_ordinary_texts_stay_as_they_are(text: str):
    assert mask(text) == text


def test_known_values_are_masked_in_every_encoding():
    remember("SEC+known/value==1")
    for text in ("SEC+known/value==1", "SEC%2Bknown%2Fvalue%3D%3D1", "SEC%2Bknown/value%3D%3D1"):
        assert mask(f"<{text}>") == "<***>"


def test_masking_twice_changes_nothing():
    remember("value-once-or-twice")
    text = "token=abc value-once-or-twice /hook/abcdef123 http://a:b@c"
    assert mask(mask(text)) == mask(text)


def test_short_values_do_not_blank_out_words():
    remember("ab")
    assert mask("abc table") == "abc table"


@given(st.text())
def test_a_log_entry_is_one_line(text: str):
    line = one_line(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line)


def test_forged_entries_and_terminal_codes_are_written_out():
    assert one_line("a\n2026 ERROR forged\x1b[31m\ttab\x00") == "a\\n2026 ERROR forged\\u001b[31m\\ttab\\u0000"


@pytest.fixture
def stream():
    stream = io.StringIO()
    handlers, level = logging.root.handlers[:], logging.root.level
    yield stream
    logger.remove()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_standard_library_logging_arrives_with_its_origin(stream: io.StringIO):
    configure_logging("INFO", sink=stream)
    logging.getLogger("some.library").warning("careful, %s", "you")
    logging.getLogger("some.library").debug("not shown")
    line = stream.getvalue()
    assert line.count("\n") == 1
    assert "WARNING" in line
    assert "test_secrets_and_sealing" in line
    assert line.endswith("careful, you\n")


def test_own_levels_of_libraries_do_not_break_logging(stream: io.StringIO):
    configure_logging("INFO", sink=stream)
    logging.addLevelName(25, "NOTICE-OF-A-LIBRARY")
    logging.getLogger("x").log(25, "odd {} level")
    assert "odd {} level" in stream.getvalue()


def test_urllib3_never_logs_below_info(stream: io.StringIO):
    configure_logging("DEBUG", sink=stream)
    logging.getLogger("urllib3.connectionpool").debug("address")
    logging.getLogger("urllib3").debug("address")
    assert stream.getvalue() == ""


def test_a_sink_that_fails_neither_stops_the_caller_nor_prints_the_record(capsys: pytest.CaptureFixture[str]):
    def broken(_: str) -> None:
        raise OSError("disk full")

    configure_logging("INFO", sink=broken)
    logger.info("password=hunter22")
    logger.remove()
    captured = capsys.readouterr()
    assert "hunter22" not in captured.out + captured.err


def test_tracebacks_show_no_variables(stream: io.StringIO):
    configure_logging("INFO", sink=stream)
    hidden = "variable-content"
    try:
        [][len(hidden)]
    except IndexError:
        logger.exception("failed")
    text = stream.getvalue()
    assert "Traceback" in text
    assert text.count("variable-content") == 0
