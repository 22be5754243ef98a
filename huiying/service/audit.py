"""The audit chain for those who check it: verify, export for an auditor, anchor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from huiying.domain.audit import AuditEntry, rfc3339
from huiying.domain.audit_check import BEGINNING, Anchor, Head, Verdict, check, parse_anchors
from huiying.domain.errors import InvalidInput, Refused, Unavailable
from huiying.domain.sentences import said
from huiying.service import verify_audit
from huiying.store.audit_log import count_entries, read_entries, read_head, read_place
from huiying.store.db import Store

Progress = Callable[[int, int], None]
"""Called now and then with what is done and what there is to do."""

FORMAT = "huiying-audit-1"


def verify(store: Store, anchors: Sequence[Anchor] = (), progress: Progress | None = None) -> Verdict:
    """Check every entry, the head row and the anchors, in one snapshot while the system goes on writing."""
    with store.reading() as tx, closing(read_entries(tx.conn, 0, progress)) as entries:
        return check(entries, read_head(tx.conn), anchors)


def anchor(store: Store) -> Anchor:
    """The present end of the chain; ``anchor(store).text`` is the line to keep outside this system, daily."""
    with store.reading() as tx:
        head = read_head(tx.conn) or BEGINNING
        return Anchor(head.seq, head.hash, tx.now)


def read_anchor_file(path: Path) -> list[Anchor]:
    """The anchors of a text file, at least one."""
    try:
        anchors = parse_anchors(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidInput("anchor", f"无法读取锚点文件：{error.strerror}") from error
    except ValueError as error:
        raise InvalidInput("anchor", f"锚点文件有误：{error}") from error
    if not anchors:
        raise InvalidInput("anchor", "锚点文件中没有以「审计锚点」开头的行。")
    return anchors


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written for an auditor."""

    folder: Path
    entries: int
    anchor: Anchor


def export(
    store: Store, folder: Path, since: int | None = None, *, actor: str = "", progress: Progress | None = None
) -> Exported:
    """Write ``audit.jsonl``, ``head.json``, ``anchor.txt`` and ``verify_audit.py`` into an empty or new folder.

    ``since`` is the number of the last entry that the auditor already has. With an ``actor`` the export itself becomes
    an entry of the chain, the first one that is not in it.
    """
    _prepare(folder)
    try:
        start, entries, made = _write_all(store, folder, since or 0, progress)
    except OSError as error:
        raise Unavailable(f"导出未完成：{error.strerror}。请删除目录 {folder.name} 后重试。") from error
    if actor:
        with store.transaction(actor) as tx:
            tx.audit("audit.export", "audit", {"after": start.seq, "count": made.count, "hash": made.hash})
    return Exported(folder, entries, made)


def _write_all(store: Store, folder: Path, since: int, progress: Progress | None) -> tuple[Head, int, Anchor]:
    """One snapshot; ``head.json`` comes after the entries, so that half an export cannot be taken for a whole one."""
    with store.reading() as tx:
        head = read_head(tx.conn) or BEGINNING
        start = read_place(tx.conn, since)
        if start is None:
            raise InvalidInput(
                "since", said("审计记录中没有第 %(since)s 条，现有 %(count)s 条。", since=since, count=head.seq)
            )
        entries = count_entries(tx.conn, start.seq)
        made = Anchor(head.seq, head.hash, tx.now)
        with closing(read_entries(tx.conn, start.seq, progress)) as stream, _new_file(folder / "audit.jsonl") as file:
            file.writelines(map(_line, stream))
    _write(folder / "anchor.txt", made.text)
    _write(folder / "verify_audit.py", Path(verify_audit.__file__).read_text(encoding="utf-8").rstrip("\n"))
    _write(folder / "head.json", json.dumps(_summary(made, start, entries), ensure_ascii=False, indent=2))
    return start, entries, made


def _summary(made: Anchor, start: Head, entries: int) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "exported_at": rfc3339(made.at),
        "count": made.count,
        "hash": made.hash,
        "after": start.seq,
        "after_hash": start.hash,
        "entries": entries,
    }


def _line(entry: AuditEntry) -> bytes:
    fields = {
        "seq": entry.seq,
        "at": rfc3339(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "payload": entry.payload,
        "payload_hash": entry.payload_hash,
        "prev_hash": entry.prev_hash,
        "hash": entry.hash,
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), default=str)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a forged row; the auditor is to see it
        return json.dumps(fields, separators=(",", ":"), default=str).encode() + b"\n"


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupied = any(folder.iterdir())
    except OSError as error:
        raise InvalidInput("folder", f"无法使用该目录：{error.strerror}") from error
    if occupied:
        raise Refused("导出目录不是空的，未写入任何内容。请指定新目录或空目录。")


def _write(path: Path, text: str) -> None:
    with _new_file(path) as file:
        file.write(text.encode() + b"\n")


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that only its owner may read: the audit names people. A name that somebody put there first is refused."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
