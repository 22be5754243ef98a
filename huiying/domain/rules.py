"""Rule packs as values: what a document demands, clause by clause.

A pack is loaded by ``config.loader`` and frozen with its ``version`` (SHA-256 of its canonical content), so that a
running clock keeps the rules it started with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

from huiying.domain.kinds import Kind, LimitStatus, Severity

#: Rule ids that several packs share: one milestone, the tightest clock binds.
AUTHORITATIVE_RELEASE = "authoritative_release"
PRESS_CONFERENCE = "press_conference"
AUTHORITATIVE_RESPONSE = "authoritative_response"

#: What can stop a clock; a pack's ``satisfied_by`` names these and nothing else.
MILESTONES = (AUTHORITATIVE_RELEASE, PRESS_CONFERENCE, AUTHORITATIVE_RESPONSE)

#: The due time of a clock that a superior's notice sets.
NOTICE_DUE = "notice.due_at"

#: What a document may demand of the content, with the words that a duty officer reads.
CONTENT_RULES = {
    "no_repost": "不得以转载工作动态、新闻报道、评论文章等充当回应内容",
    "substantive": "回应内容不敷衍",
}

#: What a document attaches to a missed limit; a person decides, never the system.
MEASURES = {
    "circular_criticism": "通报批评",
    "admonitory_talk": "约谈",
    "joint_accountability": "会同监察机关追责",
}


@dataclass(frozen=True, slots=True)
class Selector:
    """One way an incident can look: absent fields match everything."""

    kind: Kind | None = None
    severity: frozenset[Severity] = frozenset()
    source: str | None = None

    def matches(self, kind: Kind, severity: Severity | None, source: str) -> bool:
        """Tell whether an incident of this kind, severity and source is meant."""
        if self.kind is not None and kind is not self.kind:
            return False
        if self.severity and severity not in self.severity:
            return False
        return self.source is None or self.source == source


@dataclass(frozen=True, slots=True)
class Applicability:
    """``applies_to`` of a rule: an inclusion or an exclusion, never both."""

    include: Selector = field(default_factory=Selector)
    exclude: Selector | None = None
    basis: str = ""

    def covers(self, kind: Kind, severity: Severity | None, source: str) -> bool:
        """Tell whether the rule speaks of an incident of this kind, severity and source."""
        if self.exclude is not None and self.exclude.matches(kind, severity, source):
            return False
        return self.include.matches(kind, severity, source)


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a clock starts. ``stated`` is False where the start is our reading, which every screen says."""

    field: str
    stated: bool
    basis: str


@dataclass(frozen=True, slots=True)
class Breach:
    """What the document attaches to missing the limit; always decided by a person."""

    measures: tuple[str, ...] = ()
    basis: str = ""


@dataclass(frozen=True, slots=True)
class ClockRule:
    """One incident clock (or untimed duty) of a document.

    ``limit`` is natural hours and never touches a calendar; None for an untimed duty. ``rule_id`` names the milestone.
    ``satisfied_by`` lists publication milestones (rule ids) that count; see ``huiying.domain.evidence``.
    ``repeat_every`` None on a ``continuous_release`` rule: an interval set by the office makes an internal clock.
    ``limit_from`` "notice.due_at": the due time comes from a superior's notice.
    ``responsible_stated`` False: the body is our inference, the document does not name one.
    ``policy`` names an escalation policy; "" lets the policy that applies to the rule id count.
    """

    pack_id: str
    rule_id: str
    name: str
    status: LimitStatus
    applies_to: Applicability
    anchor: Anchor | None
    limit: timedelta | None
    clause: str
    quote: str
    responsible: str = ""
    satisfied_by: tuple[str, ...] = ()
    satisfied_basis: str = ""
    content_rules: tuple[str, ...] = ()
    on_breach: Breach = field(default_factory=Breach)
    limit_from: str = ""
    repeats: bool = False
    rows: tuple[str, ...] = ()
    policy: str = ""
    note: str = ""
    responsible_stated: bool = True


@dataclass(frozen=True, slots=True)
class Obligation:
    """A time rule of a document that is not an incident clock (a row of the obligations table)."""

    pack_id: str
    id: str
    clause: str
    kind: str
    quote: str
    anchor: str
    limit: str
    unit: str
    who: str
    done: str
    parsed: dict[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class PackPolicy:
    """What a pack does where its document is silent (our reading unless ``basis`` says otherwise)."""

    regrade_up: str = "by_reason"
    regrade_down: str = "keep_breached_cancel_pending"
    credit_prior_release: str = "after_review"
    merge_anchor: str = "earliest"
    basis: str = "our_reading"


@dataclass(frozen=True, slots=True)
class RulePack:
    """A document's rules with their provenance and effective dates (dates are Shanghai calendar days)."""

    id: str
    version: str
    title: str
    title_basis: str
    issuer: str
    doc_no: str
    doc_no_basis: str
    jurisdiction_code: str
    jurisdiction_name: str
    level: str
    issued: date | None
    published: date | None
    effective_to: date | None
    nominal_year: int | None
    yearly: bool
    source_file: str
    source_sha256: str
    source_truncated: str
    stages: tuple[str, ...]
    policy: PackPolicy
    clocks: tuple[ClockRule, ...]
    obligations: tuple[Obligation, ...]
    unverified: tuple[str, ...] = ()

    @property
    def effective_from(self) -> date:
        """First day in force: issued, else published, else 1 January of the nominal year (domain.md §7.2)."""
        if self.issued is not None:
            return self.issued
        if self.published is not None:
            return self.published
        return date(self.nominal_year or 1, 1, 1)

    def in_force(self, on: date) -> bool:
        """Tell whether the pack is in force on that Shanghai day; a yearly document stays until replaced."""
        return self.effective_from <= on and (self.effective_to is None or on <= self.effective_to)

    def awaits_confirmation(self, on: date) -> bool:
        """True when a yearly document is used beyond its year: shown 待确认沿用 until the operator confirms it."""
        return self.yearly and self.nominal_year is not None and on.year > self.nominal_year


def packs_in_force(packs: tuple[RulePack, ...], region_code: str, org_code: str, on: date) -> tuple[RulePack, ...]:
    """All packs that bind a body of this region on that Shanghai day, national first, then by id.

    A pack of level ``national`` binds everybody; ``province``/``prefecture``/``county`` bind region codes below theirs
    (trailing zero pairs are wildcards); ``department`` binds only the body whose ``org_code`` is the pack's own id.
    """

    def binds(pack: RulePack) -> bool:
        if pack.level == "national":
            return True
        if pack.level == "department":
            return org_code == pack.id
        stem = pack.jurisdiction_code
        while stem.endswith("00"):
            stem = stem[:-2]
        return bool(stem) and region_code.startswith(stem)

    chosen = [pack for pack in packs if binds(pack) and pack.in_force(on)]
    chosen = [pack for pack in chosen if not any(_replaces(other, pack) for other in chosen)]
    return tuple(sorted(chosen, key=lambda pack: (pack.level != "national", pack.id)))


def _replaces(newer: RulePack, older: RulePack) -> bool:
    """A yearly document stays until the same body's next one comes into force."""
    same_body = (newer.issuer, newer.jurisdiction_code, newer.level) == (
        older.issuer,
        older.jurisdiction_code,
        older.level,
    )
    return newer.yearly and older.yearly and same_body and newer.effective_from > older.effective_from
