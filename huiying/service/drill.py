"""A drill: 48 hours of an invented incident in seconds, through the very code that serves a real one.

It plays on a scratch store with a clock of its own that jumps from one due instant to the next. Rules, calendars and
policies are those of the installation. Every message is marked 【演练】, takes no way but the inbox, and is copied from
the scratch store into one real inbox, so that people see what they would get.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa

from config.sealed import Sealer
from huiying.domain.access import LOCAL_PERMISSIONS
from huiying.domain.errors import NotFound, Refused
from huiying.domain.kinds import ContentKind, GradeBasis, Kind, PublicationKind, Severity
from huiying.service import incidents, queries
from huiying.service.actor import Actor
from huiying.service.drill_script import Deed, Script
from huiying.service.engine import ensure_inbox
from huiying.service.playback import JumpingClock, Playback
from huiying.service.requests import AckRequest, GradeRequest, RegisterRequest, ReleaseRequest, TimeInput
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Store, open_engine
from huiying.store.schema import upgrade

Progress = Callable[[float, float], None]
"""Called with the seconds played and the seconds there are."""

UNIT_ID = "drill"
MARK = "【演练】"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something a person of the script tried and the rules did not allow."""

    at: datetime
    do: str
    message: str


def play(
    services: Services, actor: Actor, script: Script, *, to: str = "", progress: Progress | None = None
) -> dict[str, Any]:
    """Play a script; gives its timeline. ``to`` is whose real inbox gets the copies ("" for nobody's)."""
    actor.require("register")
    if to:
        _refuse_unknown(services, to)
    clock = JumpingClock(script.starts_at)
    with _scratch(services, clock) as scratch:
        _furnish(scratch, script)
        game = _Game(scratch, script, clock, progress or _silent)
        no = game.play()
        timeline = queries.timeline(scratch, no)
        messages = _messages(scratch)
    copied = _copy(services, actor, script, messages, to) if to else 0
    return {
        "drill": script.name,
        "no": no,
        "starts_at": shown(script.starts_at),
        "ends_at": shown(clock()),
        "messages": len(messages),
        "copied_to": to or None,
        "copied": copied,
        "refusals": [{"at": shown(r.at), "do": r.do, "message": r.message} for r in game.refusals],
        "timeline": timeline,
    }


def _silent(_done: float, _total: float) -> None:
    """Nobody watches."""


def _refuse_unknown(services: Services, person_id: str) -> None:
    with services.store.reading() as tx:
        if tx.one(sa.select(t.person.c.id).where(t.person.c.id == person_id, t.person.c.active)) is None:
            raise NotFound(f"没有编号为「{person_id[:64]}」的在用人员，演练未开始。")


# -- the scratch house -------------------------------------------------------------------------------------------------


@contextmanager
def _scratch(services: Services, clock: JumpingClock) -> Iterator[Services]:
    """An outfit of its own on a store that is gone afterwards; nothing of it can reach anybody."""
    with tempfile.TemporaryDirectory(prefix="huiying-drill-") as name:
        folder = Path(name)
        store = Store(open_engine(f"sqlite:///{folder / 'drill.db'}"), clock, fixed_clock=True)
        try:
            upgrade(store.engine)
            _copy_rules(services.store, store)
            settings = services.settings.model_copy(update={"public_url": "", "data_dir": folder})
            yield Services(store, settings, Sealer(folder / "secret.key"), secrets.token_bytes(32), None)
        finally:
            store.close()


def _copy_rules(source: Store, target: Store) -> None:
    """Packs, policies and calendars as they are in use now."""
    with source.reading() as tx:
        rows = {table: tx.all(sa.select(table).where(table.c.current)) for table in (t.pack, t.policy, t.calendar)}
    with target.transaction("system:drill") as tx:
        for table, found in rows.items():
            if found:
                tx.run(table.insert(), [row._asdict() for row in found])


def _furnish(scratch: Services, script: Script) -> None:
    with scratch.store.transaction("system:drill") as tx:
        tx.run(t.unit.insert().values(id=UNIT_ID, name=script.unit_name, region_code=script.region_code, active=True))
        for player in script.people:
            row = {"id": player.id, "name": player.name, "unit_id": UNIT_ID, "im_sealed": {}, "created_at": tx.now}
            tx.run(t.person.insert().values(**row, active=True))
            for role in player.roles:
                tx.run(t.duty.insert().values(person_id=player.id, role=role.value, unit_id=UNIT_ID))
        ensure_inbox(tx)


# -- playing -----------------------------------------------------------------------------------------------------------


class _Game:
    """Goes from instant to instant: a deed of the script, or whatever the engine has to do."""

    def __init__(self, services: Services, script: Script, clock: JumpingClock, progress: Progress) -> None:
        self._services = services
        self._script = script
        self._clock = clock
        self._progress = progress
        self._playback = Playback(services, clock, "drill")
        self._no = ""
        self.refusals: list[Refusal] = []

    def play(self) -> str:
        """Register, then play to the end; gives the incident's number."""
        start, total = self._script.starts_at, self._script.length
        self._no = incidents.register(self._services, self._as(self._script.registrar), self._request())["no"]
        self._playback.work()
        for deed in self._script.deeds:
            if deed.at > total:
                break
            self._run_until(start + deed.at)
            self._do(deed)
            self._playback.work()
        self._run_until(start + total)
        self._progress(total.total_seconds(), total.total_seconds())
        return self._no

    def _request(self) -> RegisterRequest:
        script = self._script
        times = {s.kind: TimeInput(script.starts_at - s.before, s.source) for s in script.times}
        return RegisterRequest(
            title=script.title,
            notice_title=script.notice_title,
            kind=script.kind,
            severity=script.severity,
            criterion=script.criterion,
            unit_id=UNIT_ID,
            region_code=script.region_code,
            source=script.source,
            times=times,
            drill=True,
        )

    def _as(self, person_id: str) -> Actor:
        return Actor(f"person:{person_id}", person_id, LOCAL_PERMISSIONS, frozenset({UNIT_ID}))

    def _run_until(self, end: datetime) -> None:
        self._playback.run_until(end)
        self._progress((end - self._script.starts_at).total_seconds(), self._script.length.total_seconds())

    # -- what people do ----------------------------------------------------------------------------------------------

    def _do(self, deed: Deed) -> None:
        try:
            self._deeds[deed.do](self, self._as(deed.who), deed.words)
        except Refused as refusal:
            self.refusals.append(Refusal(self._clock(), deed.do, refusal.message))

    def _acknowledge(self, actor: Actor, words: dict[str, str]) -> None:
        incidents.acknowledge(self._services, actor, self._no, AckRequest(note=words.get("note", ""), via="drill"))

    def _release(self, actor: Actor, words: dict[str, str]) -> None:
        wanted = ReleaseRequest(
            PublicationKind(words["kind"]),
            self._clock(),
            ContentKind(words.get("content", ContentKind.ORIGINAL)),
            title=words.get("title", ""),
            url=words.get("url", ""),
            text=words.get("text", ""),
            channel=words.get("channel", ""),
        )
        incidents.record_release(self._services, actor, self._no, wanted)

    def _grade(self, actor: Actor, words: dict[str, str]) -> None:
        severity = Severity(words["severity"]) if "severity" in words else None
        kind = Kind(words.get("kind", Kind.EMERGENCY))
        basis = GradeBasis(words["basis"])
        effective_at = self._clock() if basis is GradeBasis.WORSENED else None
        wanted = GradeRequest(kind, severity, basis, words["criterion"], effective_at)
        incidents.grade(self._services, actor, self._no, wanted)

    def _stage(self, actor: Actor, words: dict[str, str]) -> None:
        incidents.enter_stage(self._services, actor, self._no, words["stage"], "")

    def _close(self, actor: Actor, words: dict[str, str]) -> None:
        incidents.close(self._services, actor, self._no, words["reason"])

    _deeds: ClassVar[dict[str, Callable[[_Game, Actor, dict[str, str]], None]]] = {
        "acknowledge": _acknowledge,
        "release": _release,
        "grade": _grade,
        "stage": _stage,
        "close": _close,
    }


# -- what is left of it ------------------------------------------------------------------------------------------------


def _messages(scratch: Services) -> list[Any]:
    names = sa.select(t.inbox_message, t.person.c.name).outerjoin(
        t.person, t.person.c.id == t.inbox_message.c.person_id
    )
    with scratch.store.reading() as tx:
        return tx.all(names.order_by(t.inbox_message.c.id))


def _copy(services: Services, actor: Actor, script: Script, messages: list[Any], to: str) -> int:
    """Into one real inbox, under numbers that no real message can have; each says whom it would have reached."""
    run = secrets.token_hex(3)
    with services.store.transaction(actor.id) as tx:
        rows = [
            {
                "notice_no": f"YL{run}-{number:05d}",
                "person_id": to,
                "subject": _marked(message.subject)[:200],
                "text": f"{MARK}致 {message.name or '无人'},演练时间 {shown(message.created_at)}\n\n{_marked(message.text)}",
                "created_at": tx.now,
                "drill": True,
            }
            for number, message in enumerate(messages, start=1)
        ]
        if rows:
            tx.run(t.inbox_message.insert(), rows)
        tx.audit("drill.played", f"drill:{run}", {"name": script.name, "messages": len(rows), "to": to})
    return len(rows)


def _marked(text: str) -> str:
    return text if text.startswith(MARK) else MARK + text
