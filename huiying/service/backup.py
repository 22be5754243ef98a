"""Backup while the system runs, and restore into SQLite or PostgreSQL, whichever the backup came from.

A backup is one consistent snapshot and is read again in full, audit chain included, before it gets its name. After a
restore nothing leaves until somebody has confirmed what the former system had sent (``huiying.service.held``).
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from huiying.domain.audit import AuditEntry, rfc3339
from huiying.domain.audit_check import BEGINNING, Head, Verdict, check
from huiying.domain.errors import InvalidInput, Refused, Unavailable
from huiying.service.archive import Archive, Manifest, Member, Writer, damaged, open_archive
from huiying.store import dump
from huiying.store.audit_log import read_head
from huiying.store.db import Store, append_audit
from huiying.store.schema import lock_schema, migrate, read_version
from huiying.store.tables import SCHEMA_VERSION, counter, device_mark, heartbeat, session, setting
from huiying.store.types import from_micros

Progress = Callable[[int, int], None]
"""Called now and then with what is done and what there is to do."""

#: To be shown after every backup and before every restore.
KEY_NOTICE = (
    "注意：备份中没有密钥。电话、邮箱和渠道密钥在备份中是加密的，解开它们要用数据目录中的 secret.key;"
    "签收链接依赖同一目录中的 server.key。请把这两个文件另行保存在与备份不同的地方，恢复前先放回新的数据目录："
    "没有 secret.key，恢复后的联系方式和渠道密钥无法解开。"
)
_NOTES = f"""本文件是回应系统的备份（huiying restore 可恢复到 SQLite 或 PostgreSQL）。

{KEY_NOTICE}

tables/*.jsonl 每行一条记录，列名见 manifest.json；时刻是自 1970-01-01T00:00Z 起的微秒数。
"""
HELD = "dispatch_held"
_BEIJING = timezone(timedelta(hours=8))
_EVERY = 5000
#: A process that reported within this time is taken to be running.
_ALIVE = timedelta(seconds=20)
#: Numbers of the day that the lost system may have given out after the backup are left out.
_NOTICE_GAP = 50_000


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup that was read again; ``verdict`` is on the audit chain in it.

    A broken chain does not stop a backup, which may be all the evidence there is; whoever made it must be told.
    """

    path: Path
    size: int
    sha256: str
    manifest: Manifest
    verdict: Verdict
    message: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has put in place; dispatch is held."""

    manifest: Manifest
    verdict: Verdict
    message: str


class _Meter:
    """Counts rows over several tables and passes."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def count(self, rows: Iterable[dump.Row]) -> Generator[dump.Row]:
        """Pass rows on."""
        for row in rows:
            yield row
            self._done += 1
            if self._done % _EVERY == 0:
                self.tell()

    def tell(self) -> None:
        """Report where we are."""
        if self._progress:
            self._progress(min(self._done, self._total), self._total)


# -- backup ------------------------------------------------------------------------------------------------------------
def backup(store: Store, path: Path, progress: Progress | None = None, *, actor: str = "system:backup") -> Backup:
    """Write one consistent snapshot to ``path`` (a new file, or a folder that is to get one) and read it all again."""
    target = _target(path, store.now())
    with _disk_sentences(), _temporary(target) as (file, temporary):
        meter = _write(store, file, progress)
        file.flush()
        os.fsync(file.fileno())
        with open_archive(temporary) as archive:
            manifest = archive.manifest
            verdict = verify_archive(archive, meter.count)
        meter.tell()
        digest, size = _fingerprint(temporary)
        temporary.replace(target)
        _sync_folder(target.parent)
    _note(store, actor, target.name, digest, manifest, verdict)
    return Backup(target, size, digest, manifest, verdict, _report(target, size, digest, manifest, verdict))


def _target(path: Path, now: datetime) -> Path:
    target = path / f"huiying-{now.astimezone(_BEIJING):%Y%m%d-%H%M%S}.zip" if path.is_dir() else path
    if target.exists():
        raise Refused(f"{target.name} 已存在，备份从不覆盖文件。请换一个文件名，或指定一个目录。")
    if not target.parent.is_dir():
        raise InvalidInput("path", "备份文件所在的目录不存在。")
    return target


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file beside the target that only its owner may read; gone afterwards unless it was renamed."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file, temporary
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def _disk_sentences() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        failure = Unavailable(f"备份未完成（{error.strerror}）：没有留下文件，系统数据不受影响。请检查磁盘后重试。")
        failure.status = 507 if error.errno == errno.ENOSPC else failure.status
        raise failure from error


def _write(store: Store, file: IO[bytes], progress: Progress | None) -> _Meter:
    with store.reading() as tx:
        # Before an upgrade the tables are still the former ones.
        version = read_version(tx.conn)
        shapes = dump.shapes() if version == SCHEMA_VERSION else dump.former_shapes(tx.conn)
        meter = _Meter(progress, 2 * sum(dump.count_rows(tx.conn, shape.name) for shape in shapes))
        writer = Writer(file, tx.now)
        for shape in shapes:
            with closing(dump.read_rows(tx.conn, shape)) as rows:
                writer.add(shape, meter.count(rows))
        writer.finish(version, tx.conn.dialect.name, read_head(tx.conn) or BEGINNING, _NOTES)
    return meter


def _fingerprint(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _note(store: Store, actor: str, name: str, digest: str, manifest: Manifest, verdict: Verdict) -> None:
    payload = {
        "file": name,
        "sha256": digest,
        "rows": manifest.rows,
        "audit_count": manifest.head.seq,
        "ok": verdict.ok,
    }
    with store.transaction(actor) as tx:
        tx.audit("backup", "store", payload)


def _report(target: Path, size: int, digest: str, manifest: Manifest, verdict: Verdict) -> str:
    made = f"{manifest.made_at.astimezone(_BEIJING):%Y-%m-%d %H:%M:%S}"
    done = "备份完成并已复核" if verdict.ok else f"备份已写成，但审计链有误，请立即查明：{verdict.reason_zh}\n文件"
    return (
        f"{done}：{target.name}，{manifest.rows} 条记录，{size} 字节，数据截至 {made}，审计 {manifest.head.seq} 条。\n"
        f"SHA-256 {digest}\n{KEY_NOTICE}"
    )


# -- verification ------------------------------------------------------------------------------------------------------
Counting = Callable[[Iterable[dump.Row]], Generator[dump.Row]]


def _plainly(rows: Iterable[dump.Row]) -> Generator[dump.Row]:
    yield from rows


def verify_archive(archive: Archive, counting: Counting = _plainly) -> Verdict:
    """Read every row of an archive: sizes, checksums, counts and the audit chain."""
    manifest = archive.manifest
    verdict: Verdict | None = None
    for member in manifest.members:
        with closing(archive.rows(member)) as plain, closing(counting(plain)) as rows:
            if member.shape.name == "audit":
                verdict = check(_entries(member, rows), manifest.head)
            elif member.shape.name == "audit_head":
                _check_head(manifest, member, list(rows))
            for _ in rows:  # the rest after a bad entry, so that damage is told from tampering
                pass
    if verdict is None or manifest.member("audit_head") is None:
        raise damaged("缺少审计记录。")
    return verdict


def _entries(member: Member, rows: Iterable[dump.Row]) -> Iterator[AuditEntry]:
    names = [name for name, _ in member.shape.columns]
    if set(names) != {field.name for field in fields(AuditEntry)}:
        raise damaged("审计记录的列不对。")
    for row in rows:
        values = dict(zip(names, row, strict=True))
        try:
            values["at"] = from_micros(values["at"])
        except (TypeError, OverflowError) as error:
            raise damaged(f"审计第 {values['seq']} 条的时刻无法识别。") from error
        yield AuditEntry(**values)


def _check_head(manifest: Manifest, member: Member, rows: list[dump.Row]) -> None:
    names = [name for name, _ in member.shape.columns]
    found = [dict(zip(names, row, strict=True)) for row in rows]
    heads = [Head(row.get("seq", -1), row.get("hash", "")) for row in found] or [BEGINNING]
    if heads != [manifest.head]:
        raise damaged("链头记录与清单不符。")


# -- restore -----------------------------------------------------------------------------------------------------------
def restore(
    path: Path, store: Store, progress: Progress | None = None, *, actor: str = "system:restore", force: bool = False
) -> Restored:
    """Check everything, then replace the whole content of the store in one transaction; dispatch is held afterwards.

    A store with anything in it is replaced only with ``force``, and never while a process of ours is running on it.
    ``force`` also takes a backup whose audit chain is broken; its content is otherwise checked all the same.
    """
    with open_archive(path) as archive:
        manifest = archive.manifest
        _refuse_newer(manifest)
        meter = _Meter(progress, 2 * manifest.rows)
        verdict = verify_archive(archive, meter.count)
        if not verdict.ok and not force:
            raise damaged(f"其中的审计链有误。{verdict.reason_zh}")
        with _load_sentences(), store.exclusive() as conn:
            now = store.now(conn)
            replaced = _make_room(conn, now, force=force)
            _load(conn, archive, meter)
            _hold(conn, now)
            _end_sessions(conn, now, actor)
            append_audit(conn, now, actor, [("restore", "store", _entry(path, manifest, verdict, replaced))])
        meter.tell()
    return Restored(manifest, verdict, _restored_report(manifest, verdict))


def _refuse_newer(manifest: Manifest) -> None:
    if not 1 <= manifest.schema <= SCHEMA_VERSION:
        raise Refused(
            f"备份的数据库结构版本为 {manifest.schema}，本程序只认识到版本 {SCHEMA_VERSION}：请用新版程序恢复。未作任何改动。"
        )


def _make_room(conn: Connection, now: datetime, *, force: bool) -> Head | None:
    """Refuse, or take everything away; gives the end of the chain that is replaced."""
    lock_schema(conn)
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("SET LOCAL lock_timeout = '10s'")
    tables = sa.inspect(conn).get_table_names()
    if "heartbeat" in tables and conn.execute(sa.select(heartbeat).where(heartbeat.c.at > now - _ALIVE)).first():
        raise Refused("系统仍在运行：请先停止全部进程（20 秒后）再恢复。未作任何改动。")
    if dump.is_empty(conn):
        replaced = None
    elif force:
        replaced = read_head(conn) if "audit_head" in tables else None
    else:
        raise Refused(
            "目标数据库不是空的：恢复会替换其中全部数据。确需替换请先备份现有数据，再明确要求覆盖。未作任何改动。"
        )
    dump.drop_everything(conn)
    return replaced


def _load(conn: Connection, archive: Archive, meter: _Meter) -> None:
    manifest = archive.manifest
    foreign = set(sa.inspect(conn).get_table_names())
    migrate(conn, manifest.schema)
    found = dump.found_shapes(conn, set(sa.inspect(conn).get_table_names()) - foreign)
    dump.clear_rows(conn, "audit_head")
    dump.begin_load(conn)
    for shape in found:
        member = manifest.member(shape.name)
        if member is None or sorted(member.shape.columns) != sorted(shape.columns):
            raise damaged(f"表 {shape.name} 缺失或列不符。")
        with closing(archive.rows(member)) as rows:
            dump.load_rows(conn, member.shape, meter.count(rows))
        if dump.count_rows(conn, shape.name) != member.rows:
            raise damaged(f"表 {shape.name} 装入的行数不符。")
    if len(found) != len(manifest.members):
        raise damaged("清单中有不认识的表。")
    dump.set_sequences(conn, found)
    if manifest.schema < SCHEMA_VERSION:
        migrate(conn, SCHEMA_VERSION)


@contextmanager
def _load_sentences() -> Iterator[None]:
    try:
        yield
    except dump.CannotLoad as error:
        raise damaged(f"数据库不接受表 {error.table} 的记录。") from error
    except IntegrityError as error:
        raise damaged("记录之间的引用不完整。") from error


def _hold(conn: Connection, now: datetime) -> None:
    """Nothing leaves from now on, and no number that the former system may have used today is used again."""
    value = {"held": True, "since": rfc3339(now), "reason": "restored"}
    conn.execute(setting.delete().where(setting.c.key == HELD))
    conn.execute(setting.insert().values(key=HELD, value=value, updated_at=now))
    name = f"notice:{now.astimezone(_BEIJING):%Y%m%d}"
    used = conn.execute(sa.select(counter.c.value).where(counter.c.name == name)).scalar()
    conn.execute(counter.delete().where(counter.c.name == name))
    conn.execute(counter.insert().values(name=name, value=(used or 0) + _NOTICE_GAP))


def _end_sessions(conn: Connection, now: datetime, actor: str) -> None:
    """Whoever was put out after the backup was made does not come back in with it: everybody signs in anew.

    Nor does a browser whose mark has been taken away since.
    """
    conn.execute(device_mark.delete())
    alive = session.c.revoked_at.is_(None)
    conn.execute(session.update().where(alive).values(revoked_at=now, revoked_by=actor[:80]))


def _entry(path: Path, manifest: Manifest, verdict: Verdict, replaced: Head | None) -> dict[str, Any]:
    return {
        "file": path.name,
        "made_at": rfc3339(manifest.made_at),
        "from": manifest.dialect,
        "rows": manifest.rows,
        "audit_count": manifest.head.seq,
        "audit_hash": manifest.head.hash,
        "chain_ok": verdict.ok,
        "replaced": {"count": replaced.seq, "hash": replaced.hash} if replaced else None,
    }


def _restored_report(manifest: Manifest, verdict: Verdict) -> str:
    made = f"{manifest.made_at.astimezone(_BEIJING):%Y-%m-%d %H:%M:%S}"
    return (
        f"恢复完成：{manifest.rows} 条记录，数据截至 {made}；此后登记的事项须补登。{verdict.reason_zh}\n"
        f"通知发送已暂停：请确认 {made} 之后原系统已发出哪些提醒，确认后才会恢复发送。\n{KEY_NOTICE}"
    )
