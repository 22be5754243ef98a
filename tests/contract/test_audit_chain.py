"""The audit chain in a database: no fork under concurrent writers, every tampering found, exports that stand alone."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from huiying.domain import audit_check
from huiying.domain.audit import GENESIS, entry_hash, link
from huiying.domain.audit_check import Anchor, Verdict, check
from huiying.domain.errors import InvalidInput, Refused
from huiying.service import verify_audit
from huiying.service.audit import anchor, export, read_anchor_file, verify
from huiying.store.audit_log import read_entries, read_head
from huiying.store.db import Store, open_engine
from huiying.store.tables import audit, audit_head
from tests.fakes.clock import FakeClock

_N = 9


def _write(store: Store, count: int, word: str = "登记") -> None:
    for number in range(count):
        with store.transaction("person:zhang") as tx:
            tx.audit("incident.register", f"2026-{number:04}", {"题": word, "n": number})


# -- writing -----------------------------------------------------------------------------------------------------------
def test_eight_writers_at_once_make_one_chain(store: Store):
    ready = threading.Barrier(8)

    def write(writer: int) -> None:
        ready.wait()
        for number in range(12):
            with store.transaction(f"writer:{writer}") as tx:
                tx.audit("test.one", str(number), {"writer": writer})
                if number % 3 == 0:
                    tx.audit("test.two", str(number), {"writer": writer})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    verdict = verify(store)
    assert verdict.ok, verdict.reason_zh
    assert verdict.count == 8 * (12 + 4)


def test_the_very_first_writers_at_once_make_one_chain(store: Store):
    with store.transaction("") as tx:
        tx.run(audit_head.delete())
    ready = threading.Barrier(4)

    def write(writer: int) -> None:
        ready.wait()
        with store.transaction(f"writer:{writer}") as tx:
            tx.audit("test", "x", {})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert verify(store).count == 4


def test_the_check_sees_one_moment_while_others_write(store: Store):
    _write(store, 3)
    with store.reading() as tx:
        entries = list(read_entries(tx.conn))
        _write(store, 2)
        assert check(entries, read_head(tx.conn)).count == 3
    assert verify(store).count == 5


def test_the_check_reports_progress(store: Store):
    _write(store, 3)
    seen: list[tuple[int, int]] = []
    verify(store, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 3)]


# -- tampering ---------------------------------------------------------------------------------------------------------
@contextmanager
def _insider(store: Store) -> Iterator[Connection]:
    """Somebody with the whole database in their hands; what they did is gone afterwards."""
    with store._connection("BEGIN IMMEDIATE") as conn:
        if store.is_sqlite:
            conn.exec_driver_sql("DROP TRIGGER audit_no_update")
            conn.exec_driver_sql("DROP TRIGGER audit_no_delete")
        else:
            conn.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")
        yield conn
        conn.rollback()


def _found(conn: Connection, anchors: Sequence[Anchor] = ()) -> Verdict:
    return check(read_entries(conn), read_head(conn), anchors)


_EDITS: dict[str, Any] = {
    "at": "at + 1",
    "actor": "'person:li'",
    "action": "'incident.void'",
    "subject": "'2026-9999'",
    "payload": "'{}'",
    "payload_hash": f"'{GENESIS}'",
    "prev_hash": f"'{'1' * 64}'",
    "hash": f"'{'2' * 64}'",
}


def test_an_edit_of_any_field_of_any_row_is_named(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit_check, "_SEARCH", 50)  # the chain is short
    _write(store, _N)
    for seq in range(1, _N + 1):
        for column, value in _EDITS.items():
            with _insider(store) as conn:
                conn.exec_driver_sql(f"UPDATE audit SET {column} = {value} WHERE seq = {seq}")
                verdict = _found(conn)
                assert (verdict.ok, verdict.first_bad) == (False, seq), column
    assert verify(store).ok


def test_a_deletion_of_any_row_is_named(store: Store):
    _write(store, _N)
    for seq in range(1, _N + 1):
        with _insider(store) as conn:
            conn.exec_driver_sql(f"DELETE FROM audit WHERE seq = {seq}")
            assert _found(conn).first_bad == seq
            _shift(conn, seq + 1, -1)
            assert _found(conn).first_bad == seq


def _shift(conn: Connection, first: int, by: int) -> None:
    """Renumber, with a detour because numbers are unique."""
    conn.exec_driver_sql(f"UPDATE audit SET seq = -(seq + {by}) WHERE seq >= {first}")
    conn.exec_driver_sql("UPDATE audit SET seq = -seq WHERE seq < 0")


def test_an_insertion_anywhere_is_named(store: Store, clock: FakeClock):
    _write(store, _N)
    for seq in range(1, _N + 2):
        with _insider(store) as conn:
            _shift(conn, seq, 1)
            before = conn.execute(sa.select(audit.c.hash).where(audit.c.seq == seq - 1)).scalar() or GENESIS
            made = link(seq, clock(), "person:li", "incident.void", "x", {}, before)
            row = {column.name: getattr(made, column.name) for column in audit.c}
            conn.execute(audit.insert(), row)
            assert _found(conn).first_bad == seq


def test_an_exchange_of_any_two_rows_is_named(store: Store):
    _write(store, _N)
    for first in range(1, _N + 1):
        for second in range(first + 1, _N + 1):
            with _insider(store) as conn:
                for old, new in ((first, -1), (second, first), (-1, second)):
                    conn.exec_driver_sql(f"UPDATE audit SET seq = {new} WHERE seq = {old}")
                assert _found(conn).first_bad == first


def test_a_cut_off_tail_is_named(store: Store):
    _write(store, _N)
    noted = anchor(store)
    for left in range(_N):
        with _insider(store) as conn:
            conn.exec_driver_sql(f"DELETE FROM audit WHERE seq > {left}")
            assert _found(conn).first_bad == left + 1
            last = conn.execute(sa.select(audit.c.hash).where(audit.c.seq == left)).scalar() or GENESIS
            conn.execute(audit_head.update().values(seq=left, hash=last))
            assert _found(conn).ok  # this is what a chain alone cannot show
            assert _found(conn, [noted]).first_bad == left + 1


def test_a_chain_written_anew_is_found_with_an_anchor(store: Store):
    _write(store, _N)
    noted = anchor(store)
    with _insider(store) as conn:
        conn.exec_driver_sql("UPDATE audit SET actor = 'person:li' WHERE seq = 3")
        previous = GENESIS
        for entry in list(read_entries(conn)):
            made = entry_hash(
                entry.seq, entry.at, entry.actor, entry.action, entry.subject, entry.payload_hash, previous
            )
            conn.execute(audit.update().where(audit.c.seq == entry.seq).values(prev_hash=previous, hash=made))
            previous = made
        conn.execute(audit_head.update().values(hash=previous))
        assert _found(conn).ok
        assert _found(conn, [noted]).first_bad == _N


def test_values_that_cannot_even_be_read_are_named(sqlite_store: Store):
    _write(sqlite_store, _N)
    for change in (
        "actor = CAST(x'ff41' AS TEXT)",
        "payload = CAST(x'ff' AS TEXT)",
        "at = 'noon'",
        "at = 9223372036854775807",
        "actor = x'00'",
        "hash = x'00'",
    ):
        with _insider(sqlite_store) as conn:
            conn.exec_driver_sql(f"UPDATE audit SET {change} WHERE seq = 4")
            assert _found(conn).first_bad == 4, change
    assert verify(sqlite_store).ok


def test_an_exchanged_database_file_is_found_with_an_anchor(sqlite_store: Store, tmp_path: Path, clock: FakeClock):
    _write(sqlite_store, 4)
    with sqlite_store.engine.connect() as conn:
        conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    old = tmp_path / "old.db"
    shutil.copyfile(str(sqlite_store.engine.url.database), old)
    _write(sqlite_store, 3)
    noted = [anchor(sqlite_store)]
    other = Store(open_engine(f"sqlite:///{old}"), clock, fixed_clock=True)
    try:
        assert verify(other).ok
        assert verify(other, noted).first_bad == 5
        _write(other, 5, "另一段历史")
        assert verify(other).ok
        assert verify(other, noted).first_bad == 7
    finally:
        other.close()


# -- anchors and exports -----------------------------------------------------------------------------------------------
def test_an_anchor_file_is_read_back(store: Store, tmp_path: Path, clock: FakeClock):
    _write(store, 3)
    first = anchor(store)
    clock.advance(timedelta(days=1))
    _write(store, 2)
    path = tmp_path / "anchors.txt"
    path.write_text(f"值班日志\n{first.text}\n\n{anchor(store).text}\n", encoding="utf-8")
    assert read_anchor_file(path) == [first, anchor(store)]
    assert "与 2 个锚点相符" in verify(store, read_anchor_file(path)).reason_zh


@pytest.mark.parametrize("text", ["", "nothing here", "审计锚点 坏了"])
def test_an_anchor_file_without_an_anchor_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "anchors.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match="锚点文件"):
        read_anchor_file(path)
    with pytest.raises(InvalidInput, match="无法读取"):
        read_anchor_file(tmp_path / "absent.txt")


def _run(folder: Path, *arguments: str) -> tuple[int, str]:
    """The verifier as an auditor runs it: no site packages, nothing of ours on the path."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8=0", str(folder / "verify_audit.py"), *arguments],
        cwd=folder.parent,
        capture_output=True,
        check=False,
        env={"LC_ALL": "C"},
    )
    assert done.stderr == b""
    return done.returncode, done.stdout.decode()


def test_an_export_is_verified_without_us(store: Store, tmp_path: Path):
    _write(store, _N)
    noted = tmp_path / "kept elsewhere.txt"
    noted.write_text(anchor(store).text + "\n", encoding="utf-8")
    made = export(store, tmp_path / "out", actor="person:auditor")
    assert (made.entries, made.anchor.count) == (_N, _N)
    assert {path.name: path.stat().st_mode & 0o777 for path in made.folder.iterdir()} == dict.fromkeys(
        ("anchor.txt", "audit.jsonl", "head.json", "verify_audit.py"), 0o600
    )
    assert made.folder.stat().st_mode & 0o777 == 0o700
    code, text = _run(made.folder)
    assert (code, "审计记录完好：第 1 至 9 条" in text, "未与外部锚点核对" in text) == (0, True, True)
    code, text = _run(made.folder, "--anchor", str(noted))
    assert (code, "与 1 个外部锚点相符" in text) == (0, True)
    with store.reading() as tx:
        last = tx.one(sa.select(audit).order_by(audit.c.seq.desc()))
    assert last is not None
    assert (last.seq, last.action, last.actor) == (_N + 1, "audit.export", "person:auditor")


def test_an_extract_continues_what_the_auditor_has(store: Store, tmp_path: Path):
    _write(store, _N)
    made = export(store, tmp_path / "out", since=5)
    assert made.entries == _N - 5
    head = json.loads((made.folder / "head.json").read_text())
    assert (head["after"], head["count"]) == (5, _N)
    assert _run(made.folder)[0] == 0
    everything = export(store, tmp_path / "all", since=_N)
    assert everything.entries == 0
    assert _run(everything.folder)[0] == 0


def test_an_export_goes_only_where_there_is_nothing(store: Store, tmp_path: Path):
    _write(store, 2)
    export(store, tmp_path / "out")
    with pytest.raises(Refused, match="不是空的"):
        export(store, tmp_path / "out")
    with pytest.raises(InvalidInput, match="没有第 7 条"):
        export(store, tmp_path / "beyond", since=7)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="无法使用"):
        export(store, tmp_path / "file")


def _edited(index: int, **changes: Any) -> Callable[[list[str]], list[str]]:
    def edit(lines: list[str]) -> list[str]:
        entry = json.loads(lines[index]) | changes
        return [*lines[:index], json.dumps(entry, ensure_ascii=False), *lines[index + 1 :]]

    return edit


_FORGERIES: dict[str, tuple[Callable[[list[str]], list[str]], int, str]] = {
    "payload": (_edited(3, payload="{}"), 1, "第 4 条的内容（payload）被改动"),
    "actor": (_edited(3, actor="person:li"), 1, "第 4 条被改动"),
    "time": (_edited(3, at="2020-01-01T00:00:00.000000Z"), 1, "第 4 条被改动"),
    "hash": (_edited(3, hash="0" * 64), 1, "第 4 条被改动"),
    "link": (_edited(3, prev_hash="0" * 64), 1, "第 4 条与上一条的衔接不符"),
    "no hex": (_edited(0, prev_hash="x" * 64), 1, "第 1 条与上一条的衔接不符"),
    "surrogate": (_edited(3, actor="\ud800"), 2, "第 4 行不是有效的 JSON"),
    "deleted": (lambda lines: lines[:3] + lines[4:], 1, "第 4 条缺失"),
    "repeated": (lambda lines: lines[:4] + lines[3:], 1, "第 4 条重复"),
    "exchanged": (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], 1, "第 4 条缺失"),
    "cut off": (lambda lines: lines[:-2], 1, "尾部被截断：第 8 至 9 条"),
    "emptied": (lambda _lines: [], 1, "尾部被截断：第 1 至 9 条"),
    "no JSON": (lambda lines: [*lines, "{"], 2, "第 10 行不是有效的 JSON"),
    "deep": (lambda lines: [*lines, "[" * 100_000], 2, "第 10 行不是有效的 JSON"),
    "fields": (lambda lines: [*lines, "{}"], 2, "第 10 行的字段不对"),
    "types": (_edited(3, seq="4"), 2, "第 4 行的字段类型不对"),
    "true": (_edited(0, seq=True), 2, "第 1 行的字段类型不对"),
}


def test_a_forged_export_is_found_without_us(sqlite_store: Store, tmp_path: Path):
    _write(sqlite_store, _N)
    folder = export(sqlite_store, tmp_path / "out").folder
    entries = folder / "audit.jsonl"
    lines = entries.read_text(encoding="utf-8").splitlines()
    for name, (forge, wanted, sentence) in _FORGERIES.items():
        text = "".join(f"{line}\n" for line in forge(lines))
        entries.write_bytes(text.encode("utf-8", "surrogatepass"))
        code, said = _run(folder)
        assert (code, sentence in said) == (wanted, True), f"{name}: {said}"


def test_forged_heads_and_anchors_are_found_without_us(sqlite_store: Store, tmp_path: Path):
    _write(sqlite_store, _N)
    folder = export(sqlite_store, tmp_path / "out").folder
    head = json.loads((folder / "head.json").read_text())
    for change, wanted in (
        ({"count": _N - 1}, 1),
        ({"hash": "0" * 64}, 1),
        ({"after_hash": "1" * 64}, 1),
        ({"count": "9"}, 2),
        ({"after": 3}, 1),
    ):
        (folder / "head.json").write_text(json.dumps(head | change))
        assert _run(folder)[0] == wanted, change
    (folder / "head.json").write_text("[]")
    assert _run(folder) == (2, "无法核验：head.json 的内容不对。\n")
    (folder / "head.json").unlink()
    assert _run(folder)[0] == 2
    (folder / "head.json").write_text(json.dumps(head))
    noted = tmp_path / "anchor.txt"
    good = anchor(sqlite_store)
    for text, wanted in (
        (Anchor(4, "0" * 64, good.at).text, 1),
        (Anchor(_N + 1, good.hash, good.at).text, 1),
        (good.text, 0),
        ("x", 2),
        ("审计锚点 x", 2),
    ):
        noted.write_text(text, encoding="utf-8")
        assert _run(folder, "--anchor", str(noted))[0] == wanted, text
    assert _run(folder, "--anchor", str(tmp_path / "absent"))[0] == 2


def test_a_forged_database_row_is_still_found_in_its_export(sqlite_store: Store, tmp_path: Path):
    _write(sqlite_store, _N)
    with sqlite_store.engine.connect() as conn:
        conn.exec_driver_sql("DROP TRIGGER audit_no_update")
        conn.exec_driver_sql("UPDATE audit SET actor = CAST(x'ff41' AS TEXT), at = 'noon' WHERE seq = 4")
    folder = export(sqlite_store, tmp_path / "out").folder
    code, said = _run(folder)
    assert (code, "第 4 条被改动" in said) == (1, True)


def test_the_lone_verifier_keeps_to_python_3_8_and_the_standard_library():
    tree = ast.parse(Path(verify_audit.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))
    names = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)
    assert "removesuffix" not in Path(verify_audit.__file__).read_text(encoding="utf-8")
