"""Power cuts on SQLite: at any moment everything that was not synchronised may be lost, in parts and in any order.

The product itself registers incidents with its own pragmas while every write to its folder is recorded (powercut.c). Then
the power is cut at moments chosen by chance: of the writes since the last synchronisation of their file each is kept,
torn at a sector or lost. What is left is opened as after a reboot: the file is sound, the chain is whole, and whoever had
been acknowledged is there completely. The same with ``synchronous=NORMAL`` must lose some, or the trial would prove
nothing.
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from huiying.domain.audit_check import check
from huiying.store.audit_log import read_entries, read_head
from tests.trials.preload import POWERCUT, NoCompiler, build, preloading
from tests.trials.setting import Setting
from tests.trials.stage import ROOT, Stage, furnish, staged
from tests.trials.table import Row

_SECTOR = 512
_HEAD = struct.Struct("<cHQI")
_WANTED = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that was asked of the disk."""

    what: str
    name: str
    at: int
    data: bytes


def read_record(path: Path) -> Iterator[Operation]:
    """The record in order."""
    content = path.read_bytes()
    place = 0
    while place < len(content):
        what, length, at, size = _HEAD.unpack_from(content, place)
        place += _HEAD.size
        name = content[place : place + length].decode()
        place += length
        yield Operation(what.decode(), name, at, content[place : place + size])
        place += size


# -- a disk that forgets -------------------------------------------------------------------------------------------------


@dataclass
class File:
    """One file: what is surely on the disk, and what may or may not be."""

    durable: bytearray = field(default_factory=bytearray)
    named: bool = True  # its name is on the disk as well
    open_writes: list[Operation] = field(default_factory=list)

    def synchronise(self) -> None:
        """Everything so far is surely on the disk."""
        for operation in self.open_writes:
            _apply(self.durable, operation)
        self.open_writes.clear()

    def after_cut(self, chance: random.Random) -> bytearray:
        """What is found after the reboot."""
        left = bytearray(self.durable)
        mood = chance.random()  # none of it, all of it, a beginning of it, or any of it
        count = chance.randint(0, len(self.open_writes))
        for number, operation in enumerate(self.open_writes):
            keep = mood > 0.9 or (mood > 0.7 and number < count) or (0.15 < mood <= 0.7 and chance.random() < 0.5)
            if keep and mood <= 0.9 and chance.random() < 0.2:
                _tear(left, operation, chance)
            elif keep:
                _apply(left, operation)
        return left


def _apply(content: bytearray, operation: Operation) -> None:
    if operation.what == "T":
        del content[operation.at :]
        content.extend(bytes(operation.at - len(content)))
        return
    if len(content) < operation.at:
        content.extend(bytes(operation.at - len(content)))
    content[operation.at : operation.at + len(operation.data)] = operation.data


def _tear(content: bytearray, operation: Operation, chance: random.Random) -> None:
    """Only some of the sectors of a write have reached the disk."""
    start = operation.at
    end = operation.at + len(operation.data)
    while start < end:
        stop = min(end, (start // _SECTOR + 1) * _SECTOR)
        if chance.random() < 0.5:
            piece = operation.data[start - operation.at : stop - operation.at]
            _apply(content, Operation("W", operation.name, start, piece))
        start = stop


class Disk:
    """The recorded folder as the disk knows it at one moment."""

    def __init__(self, base: Path) -> None:
        self.files = {path.name: File(bytearray(path.read_bytes())) for path in base.iterdir() if path.is_file()}

    def take(self, operation: Operation) -> None:
        """One operation further."""
        name = operation.name
        if name == ".":
            for file in self.files.values():
                file.named = True
            return
        if operation.what == "U":
            self.files.pop(name, None)
            return
        file = self.files.setdefault(name, File(named=False))
        if operation.what == "S":
            file.synchronise()
        elif operation.what in {"W", "T"}:
            file.open_writes.append(operation)

    def write_after_cut(self, folder: Path, chance: random.Random) -> None:
        """What the next start finds. Shared memory is gone; a name that was never synchronised may be."""
        for name in ("huiying.db", "huiying.db-wal"):
            file, path = self.files.get(name), folder / name
            path.unlink(missing_ok=True)
            if file is not None and (file.named or chance.random() < 0.5):
                path.write_bytes(file.after_cut(chance))
        (folder / "huiying.db-shm").unlink(missing_ok=True)


# -- the trial -----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What the cuts came to."""

    cuts: int = 0
    in_checkpoint: int = 0
    lost: int = 0
    damaged: int = 0
    halved: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing at all was lost."""
        return not (self.lost or self.damaged or self.halved)


def power_cut(setting: Setting) -> Row:
    """500 cuts (10,000 in the long run) with the product's pragmas, and 200 with NORMAL, which must lose."""
    setting.folder.mkdir(parents=True)
    try:
        library = build(POWERCUT, setting.folder)
    except NoCompiler as missing:
        return setting.skipped(str(missing))
    count = 2000 if setting.is_long else 300
    cuts = 10_000 if setting.is_long else 500
    with staged(setting.folder / "data") as stage:
        furnish(stage, None)
        _close_file(stage)
        base = setting.folder / "base"
        shutil.copytree(stage.folder, base)
        tally, pragmas = _cut_many(setting, stage, library, base, count, cuts, "")
        shutil.rmtree(stage.folder)
        shutil.copytree(base, stage.folder)
        weak, _ = _cut_many(setting, stage, library, base, count // 3, 200, "synchronous=NORMAL")
    faults = list(tally.faults)
    wrong = {name: pragmas.get(name) for name, value in _WANTED.items() if pragmas.get(name) != value}
    if wrong:
        faults.append(f"the product does not use the pragmas it promises: {wrong}")
    if not weak.lost:
        faults.append("the trial is blind: synchronous=NORMAL lost nothing")
    return setting.row(
        f"{tally.cuts} cuts ({tally.in_checkpoint} in a checkpoint), {count} acknowledged registrations: lost {tally.lost},"
        f" damaged {tally.damaged}, halved {tally.halved}; the same with NORMAL: {weak.lost} of {weak.cuts} lost",
        faults,
    )


def _close_file(stage: Stage) -> None:
    with sqlite3.connect(stage.folder / "huiying.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _cut_many(
    setting: Setting, stage: Stage, library: Path, base: Path, count: int, cuts: int, pragma: str
) -> tuple[Tally, dict[str, object]]:
    record = setting.folder / f"record-{pragma or 'product'}"
    environment = stage.environment | preloading(library, stage.environment)
    environment |= {"POWERCUT_FOLDER": str(stage.folder), "POWERCUT_LOG": str(record)}
    argv = [sys.executable, "-m", "tests.trials.power_cut_load", str(count), pragma]
    subprocess.run(argv, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=900)
    operations = list(read_record(record))
    setting.say(f"{len(operations)} operations recorded ({pragma or 'the pragmas of the product'})")
    chance = setting.chance(pragma)
    first = next(number for number, operation in enumerate(operations) if operation.name == "acks" and operation.data)
    moments = sorted(chance.randint(first, len(operations)) for _ in range(cuts))
    return _walk(setting, operations, moments, base, chance), json.loads(operations[first].data)["pragmas"]


def _walk(
    setting: Setting, operations: list[Operation], moments: list[int], base: Path, chance: random.Random
) -> Tally:
    disk, tally = Disk(base), Tally()
    acked: dict[str, int] = {}
    after = setting.folder / "after"
    after.mkdir(exist_ok=True)
    left = iter([*moments, -1])
    moment = next(left)
    for number, operation in enumerate([*operations, Operation("S", ".", 0, b"")]):
        while number == moment:
            disk.write_after_cut(after, chance)
            tally.cuts += 1
            tally.in_checkpoint += bool(disk.files["huiying.db"].open_writes)
            _inspect(after, dict(acked), tally)
            if tally.cuts % 1000 == 0:
                setting.say(f"{tally.cuts} cuts")
            moment = next(left)
        disk.take(operation)
        if operation.name == "acks" and operation.what == "W":
            line = json.loads(operation.data)
            if "no" in line:
                acked[line["no"]] = line["clocks"]
    return tally


def _inspect(folder: Path, acked: dict[str, int], tally: Tally) -> None:
    """Open what is left as the product would, and look for what must be there."""
    engine = sa.create_engine(f"sqlite:///{folder / 'huiying.db'}", poolclass=sa.pool.NullPool)
    try:
        with engine.connect() as connection:
            _inspect_rows(connection, acked, tally)
    except sa.exc.DBAPIError as error:
        tally.damaged += 1
        tally.faults.append(f"cut {tally.cuts}: {error.orig}")


def _inspect_rows(connection: sa.Connection, acked: dict[str, int], tally: Tally) -> None:
    ask = connection.exec_driver_sql
    sound = ask("PRAGMA integrity_check").scalar()
    verdict = check(read_entries(connection), read_head(connection), ())
    if sound != "ok" or not verdict.ok:
        tally.damaged += 1
        tally.faults.append(f"cut {tally.cuts}: integrity {sound}, audit {verdict}")
    clocks = "SELECT i.no, (SELECT count(*) FROM clock WHERE incident_id = i.id) FROM incident i"
    found: dict[str, int] = {row[0]: row[1] for row in ask(clocks)}
    lost = [no for no, count in acked.items() if found.get(no, 0) < count]
    if lost:
        tally.lost += 1
        tally.faults.append(f"cut {tally.cuts}: acknowledged and lost: {lost[:3]}")
    halves = ask(
        "SELECT count(*) FROM incident i WHERE NOT EXISTS (SELECT 1 FROM clock WHERE incident_id = i.id)"
        " OR NOT EXISTS (SELECT 1 FROM timed_action a WHERE a.incident_id = i.id AND a.kind = 'registered')"
        " OR NOT EXISTS (SELECT 1 FROM audit WHERE subject = 'incident:' || i.no)"
        " OR NOT EXISTS (SELECT 1 FROM history WHERE incident_id = i.id)"
    ).scalar()
    if halves:
        tally.halved += 1
        tally.faults.append(f"cut {tally.cuts}: {halves} incidents without their clocks, actions, history or audit")
