"""Backup while others write; restore into either database; nothing is lost, nothing leaves, nothing hostile gets in."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from huiying.domain.errors import InvalidInput, Refused, Unavailable
from huiying.service import archive
from huiying.service.audit import anchor, verify
from huiying.service.backup import KEY_NOTICE, backup, restore
from huiying.store.db import Store, Tx, open_engine
from huiying.store.outbox import allot_numbers, is_held
from huiying.store.schema import check_version, upgrade
from huiying.store.tables import audit, audit_head, counter, heartbeat, metadata, person, session, setting, unit
from tests.fakes.clock import FakeClock
from tests.fakes.rows import contents, fill

_CHANGED_BY_RESTORE = frozenset({"setting", "counter", "audit", "audit_head", "session", "device_mark"})


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def target(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """A second database without any table."""
    url = (
        f"sqlite:///{tmp_path / 'target.db'}" if request.param == "sqlite" else request.getfixturevalue("pg_empty_url")
    )
    made = Store(open_engine(url), clock, fixed_clock=True)
    yield made
    made.close()


@pytest.fixture
def empty(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """An SQLite file in which nothing has been created yet."""
    made = Store(open_engine(f"sqlite:///{tmp_path / 'empty.db'}"), clock, fixed_clock=True)
    yield made
    made.close()


def _contents(store: Store, without: frozenset[str] = frozenset()) -> dict[str, list[Any]]:
    with store.reading() as tx:
        return contents(tx.conn, without)


# -- there and back ----------------------------------------------------------------------------------------------------
def test_every_row_of_every_table_comes_back(store: Store, target: Store, tmp_path: Path, clock: FakeClock):
    fill(store)
    before = _contents(store)
    assert all(before.values()), "every table has rows"
    noted = anchor(store)
    made = backup(store, tmp_path / "b.zip")
    clock.advance(timedelta(hours=3))
    restored = restore(made.path, target, actor="local:root")
    assert _contents(target, _CHANGED_BY_RESTORE) == {k: v for k, v in before.items() if k not in _CHANGED_BY_RESTORE}
    assert _contents(target)["audit"][: noted.count] == before["audit"]
    assert len(_contents(target)["session"]) == len(before["session"])
    assert verify(target, [noted]).ok
    assert restored.manifest.rows == sum(map(len, before.values()))
    check_version(target.engine)
    with target.reading() as tx:
        last = tx.one(sa.select(audit).order_by(audit.c.seq.desc()))
    assert last is not None
    assert (last.seq, last.action, last.actor, last.at) == (noted.count + 1, "restore", "local:root", clock())
    assert json.loads(last.payload)["audit_hash"] == noted.hash


FORMER = Path(__file__).parents[1] / "data" / "backup-schema-1.zip"


def test_a_backup_of_the_first_version_is_restored_into_this_one(target: Store, clock: FakeClock):
    """Made by the program of that version, and never made anew: it is what lies in somebody's safe."""
    with archive.open_archive(FORMER) as former:
        assert former.manifest.schema == 1
        counts = {member.shape.name: member.rows for member in former.manifest.members}
    clock.advance(timedelta(days=400))
    restored = restore(FORMER, target, actor="local:root")
    assert restored.verdict.ok
    check_version(target.engine)
    found = _contents(target)
    changed = _CHANGED_BY_RESTORE - {"session"}
    assert {name: len(rows) for name, rows in found.items() if name not in changed} == {
        name: rows for name, rows in counts.items() if name not in changed
    }
    assert found["device_mark"] == []
    assert verify(target).ok
    with target.reading() as tx:
        assert is_held(tx)


def test_no_mark_of_a_browser_comes_back_with_a_backup(store: Store, empty: Store, tmp_path: Path):
    fill(store)
    restore(backup(store, tmp_path / "b.zip").path, empty)
    assert _contents(store)["device_mark"]
    assert _contents(empty)["device_mark"] == []


def test_a_database_of_the_first_version_can_be_backed_up_as_it_is(empty: Store, target: Store, tmp_path: Path):
    restore(FORMER, empty)
    with empty.engine.begin() as conn:  # back to what the first version had, but for the restore's own traces
        conn.exec_driver_sql("DROP TABLE device_mark")
        conn.exec_driver_sql("ALTER TABLE session DROP COLUMN browser_id")
        conn.exec_driver_sql("UPDATE huiying_version SET version_num = '0001'")
    made = backup(empty, tmp_path / "former.zip")
    assert (made.manifest.schema, made.verdict.ok) == (1, True)
    restore(made.path, target)
    check_version(target.engine)


def test_new_rows_get_numbers_behind_the_restored_ones(store: Store, target: Store, tmp_path: Path):
    fill(store)
    restore(backup(store, tmp_path / "b.zip").path, target)
    with target.transaction("x") as tx:
        for table in metadata.sorted_tables:
            if "id" in table.columns and isinstance(table.columns["id"].type, sa.BigInteger):
                highest = tx.value(sa.select(sa.func.max(table.c.id)))
                assert tx.run(table.insert().values(_another(tx, table))).inserted_primary_key == (highest + 1,), (
                    table.name
                )


def _another(tx: Tx, table: sa.Table) -> dict[str, Any]:
    """A row like the last one, but for its number and what must be unique."""
    row = tx.one(sa.select(table).order_by(table.c.id.desc()))
    assert row is not None
    new: dict[str, Any] = {column.name: f"n-{column.name}"[:20] for column in table.columns if column.unique}
    new |= {name: value for name, value in {"seq": 99, "role": "new", "key": "new"}.items() if name in table.columns}
    values = dict(row._mapping) | new
    del values["id"]
    return values


def test_a_restored_store_still_refuses_to_change_the_past(store: Store, empty: Store, tmp_path: Path):
    fill(store)
    restore(backup(store, tmp_path / "b.zip").path, empty)

    def change() -> None:
        with empty.transaction("insider") as tx:
            tx.run(audit.delete())

    with pytest.raises(sa.exc.IntegrityError, match="只增不改"):
        change()


def test_nothing_leaves_after_a_restore(store: Store, empty: Store, tmp_path: Path, clock: FakeClock):
    fill(store)
    restore(backup(store, tmp_path / "b.zip").path, empty)
    with empty.reading() as tx:
        held = tx.one(sa.select(setting).where(setting.c.key == "dispatch_held"))
        assert is_held(tx)
    assert held is not None
    assert held.value == {"held": True, "since": "2025-06-02T01:00:00.000000Z", "reason": "restored"}
    assert held.updated_at == clock()


def test_nobody_is_signed_in_after_a_restore(store: Store, empty: Store, tmp_path: Path, clock: FakeClock):
    fill(store)
    with store.transaction("x") as tx:
        person_id = tx.value(sa.select(person.c.id).limit(1))
        ends = clock() + timedelta(hours=12)
        row = {
            "id": "s1",
            "secret_hash": "0" * 64,
            "person_id": person_id,
            "csrf": "c",
            "stage": "open",
            "kind": "desk",
        }
        tx.run(session.insert().values(**row, opened_at=clock(), seen_at=clock(), expires_at=ends))
    restore(backup(store, tmp_path / "b.zip").path, empty)
    with empty.reading() as tx:
        after = tx.all(sa.select(session))
    mine = next(one for one in after if one.id == "s1")
    assert (mine.revoked_at, mine.revoked_by) == (clock(), "system:restore")
    assert all(one.revoked_at for one in after)


def test_no_number_of_the_day_is_given_out_twice(store: Store, empty: Store, tmp_path: Path):
    with store.transaction("x") as tx:
        allot_numbers(tx, 3)
    made = backup(store, tmp_path / "b.zip")
    with store.transaction("x") as tx:
        after_the_backup = allot_numbers(tx, 20)
    restore(made.path, empty)
    with empty.transaction("x") as tx:
        afresh = allot_numbers(tx, 20)
    assert not set(after_the_backup) & set(afresh)
    assert afresh[0] == "N-20250602-50004"


def test_an_empty_store_is_backed_up_as_well(store: Store, empty: Store, tmp_path: Path):
    restore(backup(store, tmp_path / "b.zip").path, empty)
    assert verify(empty).count == 1


# -- while the system runs ---------------------------------------------------------------------------------------------
def test_a_backup_is_one_moment_of_a_system_that_writes(store: Store, empty: Store, tmp_path: Path):
    fill(store)
    stop = threading.Event()
    written = [0]

    def write() -> None:
        while not stop.is_set():
            written[0] += 1
            with store.transaction("writer") as tx:
                tx.run(unit.insert().values(id=f"w{written[0]}"))
                tx.run(counter.insert().values(name=f"w{written[0]}", value=written[0]))
                tx.audit("unit.added", f"w{written[0]}", {})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while written[0] < 20:
            time.sleep(0.01)
        files = [backup(store, tmp_path / f"b{number}.zip").path for number in range(3)]
    finally:
        stop.set()
        thread.join()
    assert written[0] > 20
    restore(files[-1], empty)
    with empty.reading() as tx:
        units = {row.id for row in tx.all(sa.select(unit.c.id).where(unit.c.id.like("w%")))}
        counters = {row.name for row in tx.all(sa.select(counter.c.name).where(counter.c.name.like("w%")))}
        subjects = {row.subject for row in tx.all(sa.select(audit.c.subject).where(audit.c.action == "unit.added"))}
    assert units == counters == subjects
    assert len(units) < written[0]


def test_a_backup_is_private_complete_and_alone_in_its_folder(store: Store, tmp_path: Path):
    fill(store)
    folder = tmp_path / "backups"
    folder.mkdir()
    seen: list[tuple[int, int]] = []
    made = backup(store, folder, lambda done, total: seen.append((done, total)), actor="local:root")
    assert made.path == folder / "huiying-20250602-090000.zip"
    assert list(folder.iterdir()) == [made.path]
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert made.sha256 == hashlib.sha256(made.path.read_bytes()).hexdigest()
    assert seen[-1] == (2 * made.manifest.rows, 2 * made.manifest.rows)
    assert KEY_NOTICE in made.message
    assert made.sha256 in made.message
    with zipfile.ZipFile(made.path) as opened:
        assert "secret.key" in opened.read("README.txt").decode()
        assert not [name for name in opened.namelist() if "key" in name]
    with store.reading() as tx:
        last = tx.one(sa.select(audit).order_by(audit.c.seq.desc()))
    assert last is not None
    assert (last.action, last.actor, json.loads(last.payload)["sha256"]) == ("backup", "local:root", made.sha256)


def test_a_backup_overwrites_nothing(store: Store, tmp_path: Path):
    made = backup(store, tmp_path / "b.zip")
    before = made.path.read_bytes()
    with pytest.raises(Refused, match="已存在"):
        backup(store, made.path)
    assert made.path.read_bytes() == before
    with pytest.raises(InvalidInput, match="目录不存在"):
        backup(store, tmp_path / "absent" / "b.zip")


def test_a_full_disk_leaves_no_half_backup(sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = tmp_path / "backups"
    folder.mkdir()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="备份未完成") as failure:
        backup(sqlite_store, folder)
    assert failure.value.status == 507
    assert list(folder.iterdir()) == []


def test_a_broken_chain_is_backed_up_loudly_and_restored_only_on_demand(
    sqlite_store: Store, empty: Store, tmp_path: Path
):
    fill(sqlite_store)
    with sqlite_store.engine.connect() as conn:
        conn.exec_driver_sql("DROP TRIGGER audit_no_update")
        conn.exec_driver_sql("UPDATE audit SET actor = 'person:li' WHERE seq = 2")
    made = backup(sqlite_store, tmp_path / "b.zip")
    assert made.message.startswith("备份已写成，但审计链有误")
    assert made.verdict.first_bad == 2
    with pytest.raises(Refused, match="审计链有误。第 2 条"):
        restore(made.path, empty)
    assert not restore(made.path, empty, force=True).verdict.ok
    assert verify(empty).first_bad == 2


# -- into what ---------------------------------------------------------------------------------------------------------
def test_a_store_with_anything_in_it_is_replaced_only_on_demand(store: Store, tmp_path: Path, clock: FakeClock):
    fill(store)
    made = backup(store, tmp_path / "b.zip")
    before = _contents(store)
    clock.advance(timedelta(hours=1))
    with pytest.raises(Refused, match="不是空的"):
        restore(made.path, store)
    assert _contents(store) == before
    replaced = anchor(store)
    restore(made.path, store, force=True)
    with store.reading() as tx:
        last = tx.one(sa.select(audit).order_by(audit.c.seq.desc()))
    assert last is not None
    assert json.loads(last.payload)["replaced"] == {"count": replaced.count, "hash": replaced.hash}


def test_nothing_is_replaced_under_a_running_system(store: Store, tmp_path: Path, clock: FakeClock):
    made = backup(store, tmp_path / "b.zip")
    with store.transaction("") as tx:
        tx.run(heartbeat.insert().values(process="n/engine", boot_id="b", at=tx.now))
    with pytest.raises(Refused, match="系统仍在运行"):
        restore(made.path, store, force=True)
    clock.advance(timedelta(seconds=21))
    restore(made.path, store, force=True)


def test_a_load_that_fails_leaves_the_target_as_it_was(store: Store, tmp_path: Path, clock: FakeClock):
    fill(store)
    clock.advance(timedelta(minutes=1))
    made = backup(store, tmp_path / "b.zip")
    forged = _forge(
        made.path, tmp_path / "f.zip", tables={"person": lambda rows: [_with(row, 2, "nobody") for row in rows]}
    )
    before = _contents(store)
    with pytest.raises(Refused, match=r"引用不完整|不接受表 person"):
        restore(forged, store, force=True)
    assert _contents(store) == before
    assert verify(store).ok


@pytest.mark.postgres
def test_what_only_sqlite_could_hold_is_refused_by_postgresql(sqlite_store: Store, pg_store: Store, tmp_path: Path):
    for value in ("x" * 300, "nul\0"):
        with sqlite_store.transaction("x") as tx:
            tx.run(unit.delete())
            tx.run(unit.insert().values(id="u", name=value))
        made = backup(sqlite_store, tmp_path / f"{len(value)}.zip")
        with pytest.raises(Refused, match="不接受表 unit"):
            restore(made.path, pg_store)
        assert _contents(pg_store)["unit"] == []


# -- hostile files -----------------------------------------------------------------------------------------------------
Rows = list[list[Any]]


def _with(row: list[Any], index: int, value: Any) -> list[Any]:
    return [*row[:index], value, *row[index + 1 :]]


def _forge(
    source: Path,
    path: Path,
    *,
    tables: dict[str, Callable[[Rows], Any]] | None = None,
    manifest: Callable[[dict[str, Any]], Any] = lambda value: value,
    extra: dict[str, bytes] | None = None,
) -> Path:
    """An archive that agrees with its own manifest but not with what we would have written."""
    with zipfile.ZipFile(source) as opened:
        told = json.loads(opened.read("manifest.json"))
        members = {name: opened.read(name) for name in opened.namelist()}
    for name, change in (tables or {}).items():
        changed = change([json.loads(line) for line in members[f"tables/{name}.jsonl"].splitlines()])
        data = changed if isinstance(changed, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in changed)
        members[f"tables/{name}.jsonl"] = data
        (entry,) = [table for table in told["tables"] if table["name"] == name]
        entry |= {"rows": data.count(b"\n"), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    members["manifest.json"] = json.dumps(manifest(told)).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in (members | (extra or {})).items():
            made.writestr(name, data)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a filled store."""
    folder = tmp_path_factory.mktemp("good")
    store = Store(open_engine(f"sqlite:///{folder / 'source.db'}"), FakeClock(), fixed_clock=True)
    upgrade(store.engine)
    fill(store)
    try:
        return backup(store, folder / "good.zip").path
    finally:
        store.close()


def _refused(path: Path, store: Store) -> str:
    with pytest.raises(Refused) as refusal:
        restore(path, store)
    assert sa.inspect(store.engine).get_table_names() == []
    return refusal.value.message


def test_the_forger_of_these_tests_can_also_make_a_good_one(good: Path, empty: Store, tmp_path: Path):
    restore(_forge(good, tmp_path / "f.zip"), empty)


def test_a_file_that_is_no_backup_is_refused(good: Path, empty: Store, tmp_path: Path):
    path = tmp_path / "x.zip"
    for content in (
        b"",
        b"PK",
        b"x" * 1000,
        b"PK\x05\x06" + bytes(18),
        good.read_bytes()[:-1],
        good.read_bytes() + b"x",
    ):
        path.write_bytes(content)
        assert _refused(path, empty).startswith("备份文件不可用，未作任何改动")
    assert "无法打开" in _refused(tmp_path / "absent.zip", empty)
    assert "无法打开" in _refused(tmp_path, empty)


def test_a_single_changed_byte_anywhere_is_found_or_harmless(good: Path, empty: Store, tmp_path: Path):
    data = good.read_bytes()
    path = tmp_path / "x.zip"
    with archive.open_archive(good) as untouched:
        wanted = [member.sha256 for member in untouched.manifest.members]
    for place in range(7, len(data), max(1, len(data) // 120)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :])
        found = _read_all(path)
        assert found == wanted or "未作任何改动" in found, place


def _read_all(path: Path) -> list[str] | str:
    """The checksums that were met, or the refusal."""
    try:
        with archive.open_archive(path) as opened:
            for member in opened.manifest.members:
                assert sum(1 for _ in opened.rows(member)) == member.rows
            return [member.sha256 for member in opened.manifest.members]
    except Refused as refusal:
        return refusal.message


def test_names_and_members_are_exactly_those_of_the_manifest(good: Path, empty: Store, tmp_path: Path):
    path = tmp_path / "f.zip"
    for name in ("../evil", "/etc/passwd", "tables/evil.jsonl", "tables/../x", "C:\\x"):
        assert "成员与清单不符" in _refused(_forge(good, path, extra={name: b"x"}), empty)

    def renamed(name: str) -> Callable[[dict[str, Any]], Any]:
        return lambda told: told | {"tables": [told["tables"][0] | {"name": name}, *told["tables"][1:]]}

    for name in ("../evil", "x y", "", "Ünit", "x" * 61):
        assert "清单无法识别" in _refused(_forge(good, path, manifest=renamed(name)), empty)
    twice = _forge(good, path, manifest=lambda told: told | {"tables": [*told["tables"], told["tables"][0]]})
    assert "重复的表" in _refused(twice, empty)


def test_members_of_the_same_name_are_refused(good: Path, empty: Store, tmp_path: Path):
    path = _forge(good, tmp_path / "f.zip")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as opened:
        opened.writestr("tables/unit.jsonl", b"")
    assert "成员重名" in _refused(path, empty)


@pytest.mark.parametrize(
    "change",
    [
        lambda _told: [],
        lambda told: told | {"format": "other"},
        lambda told: told | {"made_at": "yesterday"},
        lambda told: told | {"made_at": "2025-06-02T01:00:00"},
        lambda told: told | {"schema": "1"},
        lambda told: told | {"audit": {}},
        lambda told: told | {"audit": {"count": -1, "hash": "0" * 64}},
        lambda told: told | {"audit": {"count": True, "hash": "0" * 64}},
        lambda told: told | {"tables": None},
        lambda told: told | {"tables": [told["tables"][0] | {"columns": []}]},
        lambda told: told | {"tables": [told["tables"][0] | {"columns": [["a", "float"]]}]},
        lambda told: told | {"tables": [told["tables"][0] | {"columns": [["a", "int"], ["a", "int"]]}]},
        lambda told: told | {"tables": [told["tables"][0] | {"columns": [['a"); DROP TABLE unit; --', "int"]]}]},
        lambda told: told | {"tables": [told["tables"][0] | {"rows": 1.5}]},
    ],
)
def test_a_manifest_that_is_none_is_refused(good: Path, empty: Store, tmp_path: Path, change: Callable[[Any], Any]):
    assert "清单" in _refused(_forge(good, tmp_path / "f.zip", manifest=change), empty)


def test_manifests_of_unreasonable_size_or_depth_are_refused(good: Path, empty: Store, tmp_path: Path):
    path = tmp_path / "f.zip"
    assert "清单过长" in _refused(_forge(good, path, extra={"manifest.json": b" " * (2 << 20)}), empty)
    assert "清单无法识别" in _refused(_forge(good, path, extra={"manifest.json": b"[" * 100_000}), empty)


def test_another_schema_is_refused_in_words(good: Path, empty: Store, tmp_path: Path):
    for other in ({"schema": 0}, {"schema": 999}):
        forged = _forge(good, tmp_path / "f.zip", manifest=other.__ror__)
        assert f"版本为 {other['schema']}" in _refused(forged, empty)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{}\n", "列数不对"),
        (b"[1]\n", "列数不对"),
        (b"x\n", "不是有效的 JSON"),
        (b"\xff\n", "不是有效的 JSON"),
        (b'["a", NaN]\n', "不是有效的 JSON"),
        (b'["a", 1.0]\n', "不是有效的 JSON"),
        (b'["a", 1e999]\n', "不是有效的 JSON"),
        (b'["a", ' + b"9" * 10_000 + b"]\n", "不是有效的 JSON"),
        (b"[" * 100_000 + b"\n", "不是有效的 JSON"),
        (b'["a", 9223372036854775808]\n', "不合其列"),
        (b'["a", "1"]\n', "不合其列"),
        (b'["a", true]\n', "不合其列"),
        (b"[1, 1]\n", "不合其列"),
        (b'["a", [1]]\n', "不合其列"),
    ],
)
def test_a_row_that_is_none_is_refused(good: Path, empty: Store, tmp_path: Path, data: bytes, sentence: str):
    assert sentence in _refused(_forge(good, tmp_path / "f.zip", tables={"counter": lambda _rows: data}), empty)


def test_a_row_of_unreasonable_length_is_refused(
    good: Path, empty: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archive, "_LONGEST_LINE", 1000)
    forged = _forge(good, tmp_path / "f.zip", tables={"counter": lambda _rows: [["x" * 2000, 1]]})
    assert "过长" in _refused(forged, empty)


def test_counts_and_checksums_must_agree(good: Path, empty: Store, tmp_path: Path):
    def wrong(**values: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda told: told | {"tables": [told["tables"][0] | values, *told["tables"][1:]]}

    path = tmp_path / "f.zip"
    assert "校验和与清单不符" in _refused(_forge(good, path, manifest=wrong(sha256="0" * 64)), empty)
    assert "校验和与清单不符" in _refused(_forge(good, path, manifest=wrong(rows=0)), empty)
    assert "大小与清单不符" in _refused(_forge(good, path, manifest=wrong(bytes=1)), empty)


def test_columns_must_be_those_of_the_schema(good: Path, empty: Store, tmp_path: Path):
    def renamed(told: dict[str, Any]) -> Any:
        (entry,) = [table for table in told["tables"] if table["name"] == "counter"]
        entry["columns"][1][0] = "other"
        return told

    def without_unit(told: dict[str, Any]) -> Any:
        (entry,) = [table for table in told["tables"] if table["name"] == "counter"]
        entry["name"] = "other"
        return told

    path = tmp_path / "f.zip"
    assert "表 counter 缺失或列不符" in _refused(_forge(good, path, manifest=renamed), empty)
    with zipfile.ZipFile(good) as opened:
        other = {"tables/other.jsonl": opened.read("tables/counter.jsonl")}
    forged = _forge(good, path, manifest=without_unit, extra=other)
    assert "成员与清单不符" in _refused(forged, empty)


def test_the_chain_in_a_backup_must_hold(good: Path, empty: Store, tmp_path: Path):
    path = tmp_path / "f.zip"
    edited = _forge(good, path, tables={"audit": lambda rows: [_with(rows[0], 2, "person:li"), *rows[1:]]})
    assert "审计链有误。第 1 条" in _refused(edited, empty)
    cut = _forge(good, path, tables={"audit": lambda rows: rows[:-1]})
    assert "尾部被截断" in _refused(cut, empty)
    headless = _forge(good, path, tables={"audit_head": lambda _rows: []})
    assert "链头记录与清单不符" in _refused(headless, empty)
    timeless = _forge(good, path, tables={"audit": lambda rows: [_with(rows[0], 1, None), *rows[1:]]})
    assert "时刻无法识别" in _refused(timeless, empty)
    with zipfile.ZipFile(good) as opened:
        told = json.loads(opened.read("manifest.json"))
    assert told["audit"]["count"] == 2


def test_bombs_are_not_even_opened(good: Path, empty: Store, tmp_path: Path):
    bomb = _forge(good, tmp_path / "f.zip", tables={"counter": lambda _rows: b" " * (40 << 20)})
    assert "压缩炸弹" in _refused(bomb, empty)


def test_members_that_share_their_bytes_are_refused(good: Path, empty: Store, tmp_path: Path):
    path = _forge(good, tmp_path / "f.zip")
    data = bytearray(path.read_bytes())
    end = struct.unpack("<4s4H2LH", data[-22:])
    place, grown = end[6], 0
    for _ in range(end[4]):  # every member claims a megabyte
        size, name, extra, comment = (
            struct.unpack("<L", data[place + 20 : place + 24])[0],
            *struct.unpack("<3H", data[place + 28 : place + 34]),
        )
        grown += size
        data[place + 20 : place + 24] = struct.pack("<L", 1 << 20)
        place += 46 + name + extra + comment
    path.write_bytes(data)
    assert "重叠" in _refused(path, empty)


def test_a_directory_of_unreasonable_length_is_refused(empty: Store, tmp_path: Path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for number in range(30_000):
            made.writestr(f"{number}", b"")
    path = tmp_path / "f.zip"
    path.write_bytes(buffer.getvalue())
    assert "目录过长" in _refused(path, empty)


def test_other_ways_of_packing_are_refused(good: Path, empty: Store, tmp_path: Path):
    with zipfile.ZipFile(good) as opened, zipfile.ZipFile(tmp_path / "f.zip", "w", zipfile.ZIP_LZMA) as made:
        for name in opened.namelist():
            made.writestr(name, opened.read(name))
    assert "压缩方式不被接受" in _refused(tmp_path / "f.zip", empty)
    data = bytearray(good.read_bytes())
    place = struct.unpack("<4s4H2LH", data[-22:])[6]
    data[place + 8] |= 1  # "encrypted"
    (tmp_path / "f.zip").write_bytes(data)
    assert "压缩方式不被接受" in _refused(tmp_path / "f.zip", empty)


def test_the_head_row_of_an_older_schema_does_not_stay(good: Path, empty: Store):
    restore(good, empty)
    with empty.reading() as tx:
        assert len(tx.all(sa.select(audit_head))) == 1
