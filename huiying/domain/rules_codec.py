"""Rule packs as JSON-friendly dictionaries: the store keeps the frozen pack of every incident this way.

``pack_from_dict(pack_to_dict(pack)) == pack`` holds for every pack, and the version is the digest of that content,
so neither comments nor the order of keys in the file change it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from huiying.domain.iso_duration import format_duration, parse_duration
from huiying.domain.kinds import Kind, LimitStatus, Severity
from huiying.domain.rules import (
    Anchor,
    Applicability,
    Breach,
    ClockRule,
    Obligation,
    PackPolicy,
    RulePack,
    Selector,
)


def canonical_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of a content: sorted keys, no blanks, UTF-8."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def pack_version(pack: RulePack) -> str:
    """The version a pack must carry: the hash of all its content except the version itself."""
    return canonical_hash(_content(pack))


def pack_to_dict(pack: RulePack) -> dict[str, Any]:
    """Write a pack with nothing but strings, numbers, booleans, lists, dictionaries and None."""
    return {**_content(pack), "version": pack.version}


def pack_from_dict(data: Mapping[str, Any]) -> RulePack:
    """Read what ``pack_to_dict`` wrote."""
    return RulePack(
        id=data["id"],
        version=data["version"],
        title=data["title"],
        title_basis=data["title_basis"],
        issuer=data["issuer"],
        doc_no=data["doc_no"],
        doc_no_basis=data["doc_no_basis"],
        jurisdiction_code=data["jurisdiction_code"],
        jurisdiction_name=data["jurisdiction_name"],
        level=data["level"],
        issued=_to_date(data["issued"]),
        published=_to_date(data["published"]),
        effective_to=_to_date(data["effective_to"]),
        nominal_year=data["nominal_year"],
        yearly=data["yearly"],
        source_file=data["source_file"],
        source_sha256=data["source_sha256"],
        source_truncated=data["source_truncated"],
        stages=tuple(data["stages"]),
        policy=PackPolicy(**data["policy"]),
        clocks=tuple(clock_from_dict(clock) for clock in data["clocks"]),
        obligations=tuple(obligation_from_dict(data["id"], item) for item in data["obligations"]),
        unverified=tuple(data["unverified"]),
    )


def _content(pack: RulePack) -> dict[str, Any]:
    return {
        "id": pack.id,
        "title": pack.title,
        "title_basis": pack.title_basis,
        "issuer": pack.issuer,
        "doc_no": pack.doc_no,
        "doc_no_basis": pack.doc_no_basis,
        "jurisdiction_code": pack.jurisdiction_code,
        "jurisdiction_name": pack.jurisdiction_name,
        "level": pack.level,
        "issued": _from_date(pack.issued),
        "published": _from_date(pack.published),
        "effective_to": _from_date(pack.effective_to),
        "nominal_year": pack.nominal_year,
        "yearly": pack.yearly,
        "source_file": pack.source_file,
        "source_sha256": pack.source_sha256,
        "source_truncated": pack.source_truncated,
        "stages": list(pack.stages),
        "policy": _policy_to_dict(pack.policy),
        "clocks": [clock_to_dict(clock) for clock in pack.clocks],
        "obligations": [obligation_to_dict(item) for item in pack.obligations],
        "unverified": list(pack.unverified),
    }


def clock_to_dict(clock: ClockRule) -> dict[str, Any]:
    """Write one clock rule."""
    return {
        "pack_id": clock.pack_id,
        "rule_id": clock.rule_id,
        "name": clock.name,
        "status": clock.status.value,
        "applies_to": _applicability_to_dict(clock.applies_to),
        "anchor": _anchor_to_dict(clock.anchor),
        "limit": None if clock.limit is None else format_duration(clock.limit),
        "clause": clock.clause,
        "quote": clock.quote,
        "responsible": clock.responsible,
        "responsible_stated": clock.responsible_stated,
        "satisfied_by": list(clock.satisfied_by),
        "satisfied_basis": clock.satisfied_basis,
        "content_rules": list(clock.content_rules),
        "on_breach": {"measures": list(clock.on_breach.measures), "basis": clock.on_breach.basis},
        "limit_from": clock.limit_from,
        "repeats": clock.repeats,
        "rows": list(clock.rows),
        "policy": clock.policy,
        "note": clock.note,
    }


def clock_from_dict(data: Mapping[str, Any]) -> ClockRule:
    """Read what ``clock_to_dict`` wrote."""
    breach = data["on_breach"]
    return ClockRule(
        pack_id=data["pack_id"],
        rule_id=data["rule_id"],
        name=data["name"],
        status=LimitStatus(data["status"]),
        applies_to=_applicability_from_dict(data["applies_to"]),
        anchor=None if data["anchor"] is None else Anchor(**data["anchor"]),
        limit=None if data["limit"] is None else parse_duration(data["limit"]),
        clause=data["clause"],
        quote=data["quote"],
        responsible=data["responsible"],
        responsible_stated=data.get("responsible_stated", True),
        satisfied_by=tuple(data["satisfied_by"]),
        satisfied_basis=data["satisfied_basis"],
        content_rules=tuple(data["content_rules"]),
        on_breach=Breach(measures=tuple(breach["measures"]), basis=breach["basis"]),
        limit_from=data["limit_from"],
        repeats=data["repeats"],
        rows=tuple(data["rows"]),
        policy=data["policy"],
        note=data["note"],
    )


def obligation_to_dict(item: Obligation) -> dict[str, Any]:
    """Write one obligation; the pack's id is not repeated in it."""
    return {
        "id": item.id,
        "clause": item.clause,
        "kind": item.kind,
        "quote": item.quote,
        "anchor": item.anchor,
        "limit": item.limit,
        "unit": item.unit,
        "who": item.who,
        "done": item.done,
        "parsed": item.parsed,
    }


def obligation_from_dict(pack_id: str, data: Mapping[str, Any]) -> Obligation:
    """Read what ``obligation_to_dict`` wrote."""
    return Obligation(pack_id=pack_id, **data)


def _policy_to_dict(policy: PackPolicy) -> dict[str, str]:
    return {
        "regrade_up": policy.regrade_up,
        "regrade_down": policy.regrade_down,
        "credit_prior_release": policy.credit_prior_release,
        "merge_anchor": policy.merge_anchor,
        "basis": policy.basis,
    }


def _selector_to_dict(selector: Selector) -> dict[str, Any]:
    return {
        "kind": None if selector.kind is None else selector.kind.value,
        # A set has no order; JSON and the version need one.
        "severity": sorted(level.value for level in selector.severity),
        "source": selector.source,
    }


def _selector_from_dict(data: Mapping[str, Any]) -> Selector:
    return Selector(
        kind=None if data["kind"] is None else Kind(data["kind"]),
        severity=frozenset(Severity(level) for level in data["severity"]),
        source=data["source"],
    )


def _applicability_to_dict(applies: Applicability) -> dict[str, Any]:
    return {
        "include": _selector_to_dict(applies.include),
        "exclude": None if applies.exclude is None else _selector_to_dict(applies.exclude),
        "basis": applies.basis,
    }


def _applicability_from_dict(data: Mapping[str, Any]) -> Applicability:
    return Applicability(
        include=_selector_from_dict(data["include"]),
        exclude=None if data["exclude"] is None else _selector_from_dict(data["exclude"]),
        basis=data["basis"],
    )


def _anchor_to_dict(anchor: Anchor | None) -> dict[str, Any] | None:
    return None if anchor is None else {"field": anchor.field, "stated": anchor.stated, "basis": anchor.basis}


def _from_date(value: date | None) -> str | None:
    return None if value is None else value.isoformat()


def _to_date(value: str | None) -> date | None:
    return None if value is None else date.fromisoformat(value)
