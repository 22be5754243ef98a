"""Rule packs as operators see and keep them: all versions, what differs, confirming a yearly one, an office's own.

A pack that is taken in holds for incidents from now on; running ones keep the version they were frozen with.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Any

import sqlalchemy as sa

from config.loader import RULES_DIRECTORY, load_packs, parse_pack
from config.policy_loader import lint_together
from huiying.domain.access import Permission
from huiying.domain.errors import BadRulePack, NotFound, Refused
from huiying.domain.plan import SHANGHAI
from huiying.domain.rules import CONTENT_RULES, MEASURES, ClockRule, RulePack
from huiying.domain.rules_codec import clock_to_dict, pack_to_dict
from huiying.domain.rules_diff import diff_packs
from huiying.domain.rules_words import BASES_ZH, LEVELS_ZH, MILESTONES_ZH, anchor_words, limit_words, value_words
from huiying.domain.sentences import said
from huiying.service.actor import Actor
from huiying.service.obligations import compute
from huiying.service.rulebook import current_packs, current_policies, keep_own_pack, own_packs, pack_of, use_pack
from huiying.service.scope import require_house
from huiying.service.services import Services
from huiying.service.views import shown
from huiying.store import tables as t
from huiying.store.db import Tx


def list_packs(services: Services) -> list[dict[str, Any]]:
    """Every pack in its present version: in force today, waiting for its date, or waiting to be confirmed."""
    with services.store.reading() as tx:
        today, own, confirmed = _today(tx), own_packs(tx), _confirmed(tx)
        return [_summary(pack, today, own, confirmed) for pack in current_packs(tx)]


def show_pack(services: Services, pack_id: str, version: str = "") -> dict[str, Any]:
    """A pack in full, in its present version or an older one, with all versions there have been."""
    with services.store.reading() as tx:
        versions = _versions(tx, pack_id)
        pack = pack_of(tx, pack_id, _wanted(versions, pack_id, version))
        own, confirmed = own_packs(tx), _confirmed(tx)
        warnings = lint_together(current_policies(tx), [pack])
        view = _summary(pack, _today(tx), own, confirmed)
    return {
        **view,
        "versions": versions,
        "rules": [_rule_view(rule) for rule in pack.clocks],
        "duties": [
            {"id": o.id, "clause": o.clause, "kind_zh": value_words("kind", o.kind, duty=True), "quote": o.quote}
            for o in pack.obligations
        ],
        "warnings": warnings,
    }


def compare(services: Services, pack_id: str, before: str, after: str) -> dict[str, Any]:
    """Two versions of a pack side by side."""
    with services.store.reading() as tx:
        versions = _versions(tx, pack_id)
        old = pack_of(tx, pack_id, _wanted(versions, pack_id, before))
        new = pack_of(tx, pack_id, _wanted(versions, pack_id, after))
    return {
        "pack": pack_id,
        "versions": versions,
        "before": old.version,
        "after": new.version,
        "differences": differences(old, new),
    }


def differences(old: RulePack, new: RulePack) -> list[dict[str, Any]]:
    """The pure comparison as the faces show it."""
    return [asdict(difference) for difference in diff_packs(pack_to_dict(old), pack_to_dict(new))]


# -- confirming --------------------------------------------------------------------------------------------------------


def confirm_pack(services: Services, actor: Actor, pack_id: str) -> dict[str, Any]:
    """Say that a yearly document goes on holding this year although the next one has not come."""
    actor.require(Permission.RULES)
    with services.store.transaction(actor.id) as tx:
        require_house(tx, actor)
        today = _today(tx)
        pack = pack_of(tx, pack_id, _wanted(_versions(tx, pack_id), pack_id, ""))
        if not pack.awaits_confirmation(today):
            raise Refused(said("「%(title)s」不是逾期沿用的年度文件，无需确认，未作改动。", title=pack.title))
        if (pack_id, today.year) in _confirmed(tx):
            raise Refused(
                said("「%(title)s」%(year)s 年沿用已经确认过，未重复登记。", title=pack.title, year=today.year)
            )
        row = {"pack_id": pack_id, "year": today.year, "confirmed_by": actor.id, "confirmed_at": tx.now}
        tx.run(t.pack_confirmation.insert().values(**row))
        tx.audit("pack.confirmed", f"pack:{pack_id}", {"year": today.year, "version": pack.version})
    return {"pack": pack_id, "year": today.year}


# -- an office's own ---------------------------------------------------------------------------------------------------


def check_pack(services: Services, data: bytes, name: str) -> dict[str, Any]:
    """Look at a pack that is not taken in yet: its faults, or what it would change."""
    pack, findings = parse_pack(name, data)
    if pack is None:
        return {"ok": False, "findings": [asdict(finding) for finding in findings]}
    with services.store.reading() as tx:
        versions = _versions(tx, pack.id)
        present = next((row["version"] for row in versions if row["current"]), "")
        old = pack_of(tx, pack.id, present) if present else None
        warnings = lint_together(current_policies(tx), [pack])
        view = _summary(pack, _today(tx), {}, set())
    return {
        "ok": True,
        "findings": [],
        "pack": view,
        "new": old is None,
        "same": old is not None and old.version == pack.version,
        "differences": differences(old, pack) if old else [],
        "warnings": warnings,
    }


def import_pack(services: Services, actor: Actor, data: bytes, name: str) -> dict[str, Any]:
    """Take an office's own pack into use, or refuse it whole with line and reason."""
    actor.require(Permission.RULES)
    pack, findings = parse_pack(name, data)
    if pack is None:
        raise BadRulePack(
            said("规则包未被采用，共 %(count)s 处问题，原有规则不变。", count=len(findings)),
            findings=[finding.sentence for finding in findings],
        )
    with services.store.transaction(actor.id) as tx:
        require_house(tx, actor)
        changed = use_pack(tx, pack)
        keep_own_pack(tx, pack.id, pack.version)
        added = compute(tx)
        tx.audit("pack.imported", f"pack:{pack.id}", {"id": pack.id, "version": pack.version, "changed": changed})
    return {"pack": pack.id, "version": pack.version, "changed": changed, "due_dates": added}


def reset_pack(services: Services, actor: Actor, pack_id: str) -> dict[str, Any]:
    """Go back to the pack that came with the product; one that came with nothing is taken out of use."""
    actor.require(Permission.RULES)
    folder = services.settings.rules_dir
    folders = [RULES_DIRECTORY, *([folder] if folder and folder.is_dir() else [])]
    shipped = {pack.id: pack for one in folders for pack in load_packs(one).packs}
    with services.store.transaction(actor.id) as tx:
        require_house(tx, actor)
        if pack_id not in own_packs(tx):
            raise Refused(said("「%(pack_id)s」不是在线采用的规则包，未作改动。", pack_id=pack_id[:80]))
        if pack_id in shipped:
            use_pack(tx, shipped[pack_id])
        else:
            tx.run(t.pack.update().where(t.pack.c.id == pack_id).values(current=False))
        keep_own_pack(tx, pack_id, "")
        compute(tx)
        tx.audit("pack.reset", f"pack:{pack_id}", {"id": pack_id, "shipped": pack_id in shipped})
    return {"pack": pack_id, "shipped": pack_id in shipped}


# -- views -------------------------------------------------------------------------------------------------------------


def _today(tx: Tx) -> date:
    return tx.now.astimezone(SHANGHAI).date()


def _confirmed(tx: Tx) -> set[tuple[str, int]]:
    return {(row.pack_id, row.year) for row in tx.all(sa.select(t.pack_confirmation))}


def _versions(tx: Tx, pack_id: str) -> list[dict[str, Any]]:
    table = t.pack.c
    statement = sa.select(table.version, table.loaded_at, table.current).where(table.id == pack_id)
    rows = tx.all(statement.order_by(table.loaded_at.desc(), table.version))
    return [{"version": r.version, "loaded_at": shown(r.loaded_at), "current": bool(r.current)} for r in rows]


def _wanted(versions: list[dict[str, Any]], pack_id: str, version: str) -> str:
    """The version that is asked for (a beginning of it is enough), or the present one; else the newest there was."""
    fitting = [row["version"] for row in versions if version and row["version"].startswith(version)]
    if version and len(fitting) == 1:
        return str(fitting[0])
    if version or not versions:
        raise NotFound(
            said("没有名为「%(pack_id)s」的规则包，或没有这个版本。可在规则包列表中查看。", pack_id=pack_id[:80])
        )
    return str(next((row for row in versions if row["current"]), versions[0])["version"])


def _summary(pack: RulePack, today: date, own: dict[str, str], confirmed: set[tuple[str, int]]) -> dict[str, Any]:
    waits = pack.awaits_confirmation(today) and (pack.id, today.year) not in confirmed
    return {
        "id": pack.id,
        "version": pack.version,
        "title": pack.title,
        "title_basis_zh": BASES_ZH.get(pack.title_basis, pack.title_basis),
        "issuer": pack.issuer,
        "doc_no": pack.doc_no,
        "doc_no_basis_zh": BASES_ZH.get(pack.doc_no_basis, pack.doc_no_basis),
        "region": pack.jurisdiction_name,
        "region_code": pack.jurisdiction_code,
        "level_zh": LEVELS_ZH.get(pack.level, pack.level),
        "from": pack.effective_from.isoformat(),
        "to": pack.effective_to.isoformat() if pack.effective_to else "",
        "year": pack.nominal_year if pack.yearly else None,
        "in_force": pack.in_force(today),
        "over": pack.effective_to is not None and pack.effective_to < today,
        "awaits_confirmation": waits,
        "confirmed": (pack.id, today.year) in confirmed,
        "timed": sum(1 for rule in pack.clocks if rule.limit is not None or rule.limit_from),
        "untimed": sum(1 for rule in pack.clocks if rule.limit is None and not rule.limit_from),
        "obligations": len(pack.obligations),
        "unverified": list(pack.unverified),
        "truncated": pack.source_truncated,
        "stages": list(pack.stages),
        "own": own.get(pack.id) == pack.version,
    }


def _rule_view(rule: ClockRule) -> dict[str, Any]:
    written = clock_to_dict(rule)
    return {
        "rule": rule.rule_id,
        "name": rule.name,
        "status": rule.status.value,
        "status_zh": rule.status.zh,
        "clause": rule.clause,
        "quote": rule.quote,
        "responsible": rule.responsible,
        "responsible_stated": rule.responsible_stated,
        "limit": limit_words(written["limit"]) if written["limit"] else "",
        "limit_from": value_words("limit_from", rule.limit_from),
        "anchor": anchor_words(rule.anchor.field) if rule.anchor else "",
        "anchor_stated": rule.anchor.stated if rule.anchor else False,
        "anchor_basis": rule.anchor.basis if rule.anchor else "",
        "applies": _applies(written["applies_to"]),
        "applies_basis": rule.applies_to.basis,
        "satisfied_by": [MILESTONES_ZH.get(name, name) for name in rule.satisfied_by],
        "satisfied_basis": rule.satisfied_basis,
        "content_rules": [CONTENT_RULES.get(name, name) for name in rule.content_rules],
        "measures": [MEASURES.get(name, name) for name in rule.on_breach.measures],
        "breach_basis": rule.on_breach.basis,
        "note": rule.note,
    }


def _applies(written: dict[str, Any]) -> dict[str, list[str]]:
    """Whom a rule speaks of, and whom it leaves out, in words."""

    def words(way: str) -> list[str]:
        selector = written[way] or {}
        found = (value_words(f"applies_to.{way}.{name}", selector.get(name)) for name in ("kind", "severity", "source"))
        return [text for text in found if text]

    return {"include": words("include"), "exclude": words("exclude")}
