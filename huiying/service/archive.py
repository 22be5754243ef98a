"""The file of a backup: a zip with one JSON line per row, and a manifest that says what must be in it.

Whoever hands us such a file may mean harm: names, sizes, compression and every value are checked while reading, nothing
is unpacked to disk, and memory is bounded by the longest line.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO

from huiying.domain.audit import rfc3339
from huiying.domain.audit_check import Head
from huiying.domain.errors import Refused
from huiying.store.dump import KINDS, Row, Shape

FORMAT = "huiying-backup-1"
_MANIFEST = "manifest.json"
_NOTES = "README.txt"
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,59}$")
_HEX = re.compile(r"^[0-9a-f]{64}$")
_LONGEST_DIRECTORY = 1 << 20
_LONGEST_MANIFEST = 1 << 20
_LONGEST_LINE = 64 << 20
#: Texts and numbers never shrink to less than this; a member that does is a bomb.
_SMALLEST_SHARE = 1 / 400
_SMALL = 16 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A table in the archive."""

    shape: Shape
    rows: int
    size: int
    sha256: str

    @property
    def path(self) -> str:
        """Its name in the zip."""
        return f"tables/{self.shape.name}.jsonl"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the archive says of itself."""

    made_at: datetime
    schema: int
    dialect: str
    head: Head
    members: tuple[Member, ...]

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(member.rows for member in self.members)

    def member(self, name: str) -> Member | None:
        """The table of that name."""
        return next((member for member in self.members if member.shape.name == name), None)


def damaged(what: str) -> Refused:
    """The refusal of an archive; nothing has been changed."""
    return Refused(f"备份文件不可用，未作任何改动：{what}")


# -- writing -----------------------------------------------------------------------------------------------------------
class Writer:
    """Writes tables, then the manifest."""

    def __init__(self, file: IO[bytes], made_at: datetime) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=6)
        self._made_at = made_at
        self._members: list[Member] = []

    def add(self, shape: Shape, rows: Iterable[Row]) -> Member:
        """Write one table."""
        digest, size, count = hashlib.sha256(), 0, 0
        with self._zip.open(self._info(f"tables/{shape.name}.jsonl"), "w", force_zip64=True) as out:
            for row in rows:
                line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
                digest.update(line)
                out.write(line)
                size += len(line)
                count += 1
        made = Member(shape, count, size, digest.hexdigest())
        self._members.append(made)
        return made

    def finish(self, schema: int, dialect: str, head: Head, notes: str) -> Manifest:
        """Write the manifest and close."""
        made = Manifest(self._made_at, schema, dialect, head, tuple(self._members))
        self._zip.writestr(self._info(_NOTES), notes)
        self._zip.writestr(self._info(_MANIFEST), json.dumps(_to_json(made), ensure_ascii=False, indent=1))
        self._zip.close()
        return made

    def _info(self, name: str) -> zipfile.ZipInfo:
        info = zipfile.ZipInfo(name, date_time=self._made_at.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        return info


def _to_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made_at": rfc3339(manifest.made_at),
        "schema": manifest.schema,
        "dialect": manifest.dialect,
        "audit": {"count": manifest.head.seq, "hash": manifest.head.hash},
        "tables": [
            {
                "name": member.shape.name,
                "columns": [list(column) for column in member.shape.columns],
                "rows": member.rows,
                "bytes": member.size,
                "sha256": member.sha256,
            }
            for member in manifest.members
        ],
    }


# -- reading -----------------------------------------------------------------------------------------------------------
class Archive:
    """An open archive whose outer form has been checked; ``rows`` checks the rest while it reads."""

    def __init__(self, opened: zipfile.ZipFile, manifest: Manifest) -> None:
        self._zip = opened
        self.manifest = manifest

    def rows(self, member: Member) -> Generator[Row]:
        """Every row of a table; raises where the content is not what the manifest says."""
        name, digest, size, count = member.shape.name, hashlib.sha256(), 0, 0
        kinds = tuple(KINDS[kind] for _, kind in member.shape.columns)
        with _plain_errors(name), io.BufferedReader(_readable(self._zip.open(member.path)), 1 << 17) as lines:
            while line := lines.readline(_LONGEST_LINE + 1):
                digest.update(line)
                size += len(line)
                count += 1
                yield _row(line, kinds, f"{name} 第 {count} 行")
        if (count, size, digest.hexdigest()) != (member.rows, member.size, member.sha256):
            raise damaged(f"表 {name} 的行数或校验和与清单不符。")


def _readable(member: IO[bytes]) -> Any:
    return member  # zipfile's reader is a RawIOBase in all but its declared type


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a backup and check everything that can be checked without reading its rows."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise damaged(f"无法打开（{error.strerror}）。") from error
    with file:
        _check_directory(file)
        with _plain_errors("目录"):
            opened = zipfile.ZipFile(file)
        with opened:
            yield Archive(opened, _check_form(opened, os.fstat(file.fileno()).st_size))


@contextmanager
def _plain_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise damaged(f"{what} 已损坏，或不是本系统的备份。") from error


_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")


def _check_directory(file: BinaryIO) -> None:
    """The list of contents is read into memory as a whole: look at its length first."""
    size = file.seek(0, io.SEEK_END)
    tail = min(size, _END64.size + 20 + _END.size)
    file.seek(size - tail)
    data = file.read(tail)
    if len(data) < _END.size or data[-_END.size :][:4] != b"PK\x05\x06" or data[-2:] != b"\0\0":
        raise damaged("不是本系统的备份，或已被截断。")
    length = _END.unpack(data[-_END.size :])[5]
    if data[:4] == b"PK\x06\x06" and len(data) == _END64.size + 20 + _END.size:
        length = _END64.unpack(data[: _END64.size])[8]
    if length > _LONGEST_DIRECTORY:
        raise damaged("目录过长。")
    file.seek(0)


def _check_form(opened: zipfile.ZipFile, file_size: int) -> Manifest:
    infos = {info.filename: info for info in opened.infolist()}
    if len(infos) != len(opened.infolist()) or not {_MANIFEST, _NOTES} <= set(infos):
        raise damaged("成员重名，或缺少清单。")
    for info in infos.values():
        _check_member(info)
    if sum(info.compress_size for info in infos.values()) > file_size:
        raise damaged("成员互相重叠。")
    with _plain_errors("清单"), opened.open(_MANIFEST) as member:
        text = member.read(_LONGEST_MANIFEST + 1)
    manifest = _read_manifest(text)
    if set(infos) != {_MANIFEST, _NOTES} | {member.path for member in manifest.members}:
        raise damaged("成员与清单不符。")
    if any(infos[member.path].file_size != member.size for member in manifest.members):
        raise damaged("成员的大小与清单不符。")
    return manifest


def _check_member(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 0x1 or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise damaged(f"成员 {info.filename[:80]!r} 的压缩方式不被接受。")
    if info.file_size > _SMALL and info.compress_size < info.file_size * _SMALLEST_SHARE:
        raise damaged(f"成员 {info.filename[:80]!r} 的压缩比异常，疑为压缩炸弹。")


def _read_manifest(text: bytes) -> Manifest:
    if len(text) > _LONGEST_MANIFEST:
        raise damaged("清单过长。")
    try:
        manifest = _from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged("清单无法识别。") from error
    names = [member.shape.name for member in manifest.members]
    if len(set(names)) != len(names):
        raise damaged("清单中有重复的表。")
    return manifest


def _from_json(value: Any) -> Manifest:
    if value["format"] != FORMAT:
        raise ValueError("unknown format")
    made_at = datetime.fromisoformat(value["made_at"])
    if made_at.tzinfo is None:
        raise ValueError("naive time")
    return Manifest(
        made_at,
        _whole(value["schema"]),
        _matching(_NAME, value["dialect"]),
        Head(_whole(value["audit"]["count"]), _matching(_HEX, value["audit"]["hash"])),
        tuple(map(_member, value["tables"])),
    )


def _member(value: Any) -> Member:
    columns = tuple((_matching(_NAME, name), _known(kind)) for name, kind in value["columns"])
    if not columns or len(dict(columns)) != len(columns):
        raise ValueError("columns")
    shape = Shape(_matching(_NAME, value["name"]), columns)
    return Member(shape, _whole(value["rows"]), _whole(value["bytes"]), _matching(_HEX, value["sha256"]))


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("no whole number")
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if type(value) is not str or not pattern.fullmatch(value):
        raise ValueError("no such text")
    return value


def _known(kind: Any) -> str:
    if kind not in KINDS:
        raise ValueError("unknown kind")
    return str(kind)


def _no_float(text: str) -> Any:
    raise ValueError(text)


def _row(line: bytes, kinds: tuple[type, ...], where: str) -> Row:
    if len(line) > _LONGEST_LINE:
        raise damaged(f"{where} 过长。")
    try:
        values = json.loads(line, parse_float=_no_float, parse_constant=_no_float)
    except (ValueError, RecursionError) as error:
        raise damaged(f"{where} 不是有效的 JSON。") from error
    if type(values) is not list or len(values) != len(kinds):
        raise damaged(f"{where} 的列数不对。")
    if not all(map(_fits, values, kinds)):
        raise damaged(f"{where} 的值不合其列。")
    return tuple(values)


def _fits(value: Any, kind: type) -> bool:
    if kind is int:
        return value is None or (type(value) is int and -(1 << 63) <= value < 1 << 63)
    return value is None or type(value) is kind
