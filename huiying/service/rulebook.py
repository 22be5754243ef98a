"""The rules, policies and calendars in use: files are read once, frozen into the store, and used from there.

A version is the SHA-256 of its content, so what is parsed once can be kept for the life of the process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from config.calendar_loader import (
    CALENDARS_DIRECTORY,
    load_calendars,
    parse_calendar_file,
    year_from_dict,
    year_to_dict,
)
from config.document import Finding
from config.loader import RULES_DIRECTORY, load_packs
from config.policy_loader import POLICIES_DIRECTORY, load_policies
from huiying.domain.errors import BadRulePack, NotFound, Refused
from huiying.domain.kinds import ClockOrigin
from huiying.domain.plan import SHANGHAI
from huiying.domain.policy import INTERNAL, TASK, Policy, policy_for, policy_from_dict, policy_to_dict
from huiying.domain.rules import ClockRule, RulePack, packs_in_force
from huiying.domain.rules_codec import pack_from_dict, pack_to_dict
from huiying.domain.sentences import said
from huiying.domain.text import line
from huiying.domain.workdays import WorkCalendar, YearCalendar
from huiying.service.actor import Actor
from huiying.service.scope import require_house
from huiying.service.services import Services
from huiying.store import tables as t
from huiying.store.db import Tx

#: Setting: the packs that operators took in themselves.
OWN_PACKS = "own_packs"

_packs: dict[tuple[str, str], RulePack] = {}
_policies: dict[str, Policy] = {}
_years: dict[tuple[int, str], YearCalendar] = {}


def pack_of(tx: Tx, pack_id: str, version: str) -> RulePack:
    """A frozen pack as it was when it was loaded."""
    key = (pack_id, version)
    if key not in _packs:
        body = tx.value(sa.select(t.pack.c.body).where(t.pack.c.id == pack_id, t.pack.c.version == version))
        if body is None:
            raise NotFound(
                said("规则包 %(pack_id)s 的版本 %(version)s 不在库中。", pack_id=pack_id, version=version[:12])
            )
        _packs[key] = pack_from_dict(body)
    return _packs[key]


def rules_of(tx: Tx, pack_id: str, version: str) -> Sequence[ClockRule]:
    """The clock rules of a frozen pack."""
    return pack_of(tx, pack_id, version).clocks


def current_packs(tx: Tx) -> tuple[RulePack, ...]:
    """Every pack in its present version, by id."""
    statement = sa.select(t.pack.c.id, t.pack.c.version).where(t.pack.c.current).order_by(t.pack.c.id)
    return tuple(pack_of(tx, row.id, row.version) for row in tx.all(statement))


def packs_for_unit(tx: Tx, unit_id: str, region_code: str, at: datetime) -> tuple[RulePack, ...]:
    """The packs that bind a unit on the Shanghai day of an incident."""
    unit = tx.one(sa.select(t.unit).where(t.unit.c.id == unit_id))
    if unit is None:
        raise NotFound(said("没有编号为「%(unit_id)s」的单位。", unit_id=unit_id))
    region = region_code or unit.region_code
    return packs_in_force(current_packs(tx), region, unit.pack_id, at.astimezone(SHANGHAI).date())


def policy_of(tx: Tx, digest: str) -> Policy:
    """A frozen policy."""
    if digest not in _policies:
        body = tx.value(sa.select(t.policy.c.body).where(t.policy.c.hash == digest))
        if body is None:
            raise NotFound(said("升级提醒策略 %(digest)s 不在库中。", digest=digest[:12]))
        _policies[digest] = policy_from_dict(body)
    return _policies[digest]


def current_policies(tx: Tx) -> tuple[Policy, ...]:
    """Every policy in its present version."""
    return tuple(policy_of(tx, row.hash) for row in tx.all(sa.select(t.policy.c.hash).where(t.policy.c.current)))


def policy_for_clock(
    policies: Iterable[Policy], origin: str, rule_id: str, *, internal: bool, named: str = ""
) -> Policy:
    """The policy a new clock is frozen with: house clocks have their own, a transferred notice is told like a response."""
    chosen = list(policies)
    wanted = rule_id
    if origin == ClockOrigin.TASK:
        wanted = TASK
    elif internal:
        wanted = INTERNAL
    elif origin == ClockOrigin.TRANSFER:
        wanted = "state_council_transfer"
    found = policy_for(chosen, wanted, named)
    found = found or policy_for(chosen, "authoritative_response") or policy_for(chosen, INTERNAL)
    if found is None:
        raise Refused("没有可用的升级提醒策略：请先运行 huiying policy list 检查。事项未登记。")
    return found


def current_calendar(tx: Tx) -> WorkCalendar:
    """The working-day calendar made of every year's present version."""
    statement = sa.select(t.calendar.c.year, t.calendar.c.version).where(t.calendar.c.current)
    return WorkCalendar({row.year: _year(tx, row.year, row.version) for row in tx.all(statement)})


def _year(tx: Tx, year: int, version: str) -> YearCalendar:
    if (year, version) not in _years:
        body = tx.value(sa.select(t.calendar.c.body).where(t.calendar.c.year == year, t.calendar.c.version == version))
        _years[(year, version)] = year_from_dict(body)
    return _years[(year, version)]


# -- taking files into the store -----------------------------------------------------------------------------------


def sync(services: Services, extra_rules: Path | None = None, actor_id: str = "system:sync") -> list[Finding]:
    """Freeze the packs, policies and calendars of the configuration folders; what is bad is left out and reported.

    Of a bad file nothing is taken; the last good version stays in use.
    """
    directories = [RULES_DIRECTORY, *([extra_rules] if extra_rules and extra_rules.is_dir() else [])]
    from huiying.service.obligations import compute as compute_obligations  # noqa: PLC0415 - the two use each other

    loaded = [load_packs(directory) for directory in directories]
    policies = load_policies(POLICIES_DIRECTORY)
    calendars = load_calendars(CALENDARS_DIRECTORY)
    with services.store.transaction(actor_id) as tx:
        own = own_packs(tx)
        for pack in (pack for group in loaded for pack in group.packs):
            if pack.id not in own:  # what an operator took in stays in use until it is given back
                use_pack(tx, pack)
        for policy in policies.policies:
            _freeze(tx, t.policy, {"id": policy.id}, {"hash": policy.hash}, policy_to_dict(policy), "policy")
        for year in calendars.years:
            _freeze_year(tx, year, actor_id, newer=False)
        compute_obligations(tx)
    return [*(f for group in loaded for f in group.findings), *policies.findings, *calendars.findings]


def use_pack(tx: Tx, pack: RulePack) -> bool:
    """Keep a version of a pack for good and make it the present one; tells whether that changed anything."""
    return _freeze(tx, t.pack, {"id": pack.id}, {"version": pack.version}, pack_to_dict(pack), "pack")


def own_packs(tx: Tx) -> dict[str, str]:
    """The packs that operators took in themselves: version by id."""
    return dict(tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == OWN_PACKS)) or {})


def keep_own_pack(tx: Tx, pack_id: str, version: str) -> None:
    """Remember a pack as taken in by an operator; no version: forget it."""
    kept = {key: value for key, value in own_packs(tx).items() if key != pack_id}
    if version:
        kept[pack_id] = version
    table = t.setting
    changed = tx.run(table.update().where(table.c.key == OWN_PACKS).values(value=kept, updated_at=tx.now)).rowcount
    if not changed:
        tx.run(table.insert().values(key=OWN_PACKS, value=kept, updated_at=tx.now))


def _freeze(
    tx: Tx, table: sa.Table, identity: dict[str, Any], version: dict[str, Any], body: dict[str, Any], what: str
) -> bool:
    """Keep a version for good and make it the present one; False when it was that already."""
    same_id = sa.and_(*(table.c[name] == value for name, value in identity.items()))
    same_version = sa.and_(same_id, *(table.c[name] == value for name, value in version.items()))
    row = tx.one(sa.select(table.c.current).where(same_version))
    if row is not None and row.current:
        return False
    tx.run(table.update().where(same_id).values(current=False))
    if row is None:
        tx.run(table.insert().values(**identity, **version, body=body, loaded_at=tx.now, current=True))
    else:
        tx.run(table.update().where(same_version).values(current=True))
    tx.audit(f"{what}.loaded", ":".join(map(str, identity.values())), {**identity, **version})
    return True


def _freeze_year(tx: Tx, year: YearCalendar, actor_id: str, *, newer: bool) -> bool:
    """Keep a year's calendar. What an operator imported stays in use; a shipped one replaces only a shipped one."""
    table = t.calendar
    of_year = table.c.year == year.year
    present = tx.one(sa.select(table.c.version, table.c.imported_by).where(of_year, table.c.current))
    if present is not None and present.version == year.version:
        return False
    wins = newer or present is None or present.imported_by.startswith("system:")
    known = tx.one(sa.select(table.c.version).where(of_year, table.c.version == year.version))
    if wins:
        tx.run(table.update().where(of_year).values(current=table.c.version == year.version))
    if known is None:
        values = {"year": year.year, "version": year.version, "source_notice": year.source_notice}
        kept = {"body": year_to_dict(year), "imported_at": tx.now, "imported_by": actor_id, "current": wins}
        tx.run(table.insert().values(**values, **kept))
    if wins or known is None:
        tx.audit(
            "calendar.imported", f"calendar:{year.year}", {"year": year.year, "version": year.version, "used": wins}
        )
    return wins


def import_calendar(services: Services, actor: Actor, data: bytes, name: str, notice: str = "") -> dict[str, Any]:
    """Take in a year's calendar from a file without a release; due dates that were provisional are recomputed.

    The old values are kept. A bad file is refused as a whole with line and reason. ``notice`` names the source of a
    CSV file, which has no place for it.
    """
    from huiying.service.obligations import recompute  # noqa: PLC0415 - the two modules use each other

    actor.require("rules")
    parsed = parse_calendar_file(name, data, line("notice", notice, 200, "来源通知"))
    if parsed.findings:
        raise BadRulePack("日历文件有误，未导入任何内容。", findings=[finding.sentence for finding in parsed.findings])
    with services.store.transaction(actor.id) as tx:
        require_house(tx, actor)
        changed = [year.year for year in parsed.years if _freeze_year(tx, year, actor.id, newer=True)]
        moved = recompute(tx, current_calendar(tx))
    return {"years": [year.year for year in parsed.years], "changed": changed, "recomputed": moved}
