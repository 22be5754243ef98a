"""Checking the audit chain: is every entry the one that was written, in its place, and is none missing?

The chain itself shows a changed, removed, inserted or moved entry. It cannot show that its end was cut off together with
the head row, or that all of it was written anew: for that it is compared with anchors, which are kept elsewhere.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from huiying.domain.audit import GENESIS, AuditEntry, entry_hash
from huiying.domain.sentences import said

#: How far around a broken place the check looks for the entry that belongs there, to say what happened.
_SEARCH = 5000
_ANCHOR = re.compile(r"^审计锚点 (\S+) 共 ?(\d{1,18}) ?条 链头 ?([0-9a-f]{64})$")
_BEIJING = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Anchor:
    """The state of the chain at one moment, noted where the database's owner cannot change it."""

    count: int
    hash: str
    at: datetime

    @property
    def text(self) -> str:
        """One line to print, post or write down."""
        at = self.at.astimezone(_BEIJING).isoformat(timespec="seconds")
        return f"审计锚点 {at} 共 {self.count} 条 链头 {self.hash}"


def parse_anchors(text: str) -> list[Anchor]:
    """Every anchor line in a text, other lines passed over; a damaged anchor line raises, lest it be overlooked."""
    lines = (" ".join(line.replace("\ufeff", "").split()) for line in text.splitlines())
    return [_parse_anchor(number, line) for number, line in enumerate(lines, 1) if line.startswith("审计锚点")]


def _parse_anchor(number: int, line: str) -> Anchor:
    found = _ANCHOR.match(line)
    try:
        at = datetime.fromisoformat(found.group(1)) if found else None
    except ValueError:
        at = None
    if found is None or at is None or at.tzinfo is None:
        raise ValueError(f"第 {number} 行像是审计锚点，但无法识别：{line[:120]}")
    return Anchor(int(found.group(2)), found.group(3), at)


@dataclass(frozen=True, slots=True)
class Head:
    """A place in the chain: the number and the hash of an entry; the head row holds those of the last."""

    seq: int
    hash: str


#: The place before the first entry.
BEGINNING = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check found; ``first_bad`` is the first number that is not as it was written.

    ``count`` and ``head_hash`` are the last entry up to which all is well. ``first_bad`` is None where all is well and
    where only the head row is missing.
    """

    ok: bool
    count: int
    head_hash: str
    first_bad: int | None
    reason_zh: str


def check(
    entries: Iterable[AuditEntry], head: Head | None, anchors: Sequence[Anchor] = (), *, start: Head = BEGINNING
) -> Verdict:
    """Walk the chain in the order of its numbers, then compare its end with the head row and the anchors.

    ``start`` is the entry before the first one given, for an extract.
    """
    walk = _Walk(start, anchors)
    stream = iter(entries)
    for entry in stream:
        if not walk.step(entry):
            return walk.broken(*_diagnose(walk, entry, itertools.islice(stream, _SEARCH)))
    return _check_end(walk, head, anchors)


class _Walk:
    """Where the walk stands: behind the last good entry."""

    def __init__(self, start: Head, anchors: Sequence[Anchor]) -> None:
        self.start = start
        self.last = start
        self.anchored = start.seq  # the last number that an anchor has confirmed
        self.missed: Anchor | None = None
        self._recent = deque([start], _SEARCH)
        self._anchors: dict[int, list[Anchor]] = {}
        for anchor in anchors:
            self._anchors.setdefault(anchor.count, []).append(anchor)
        self._compare(start)

    def step(self, entry: AuditEntry) -> bool:
        """Go past an entry that is as it was written; otherwise stay before it."""
        if self.missed is not None or entry.seq != self.last.seq + 1 or entry.prev_hash != self.last.hash:
            return False
        if own_hash(entry, entry.seq) != entry.hash or _payload_hash(entry) != entry.payload_hash:
            return False
        here = Head(entry.seq, entry.hash)
        if not self._compare(here):
            return False
        self.last = here
        self._recent.append(here)
        return True

    def passed(self, seq: int) -> Head | None:
        """A good entry gone past not too long ago."""
        oldest = self._recent[0].seq
        return self._recent[seq - oldest] if oldest <= seq <= self.last.seq else None

    def _compare(self, here: Head) -> bool:
        for anchor in self._anchors.get(here.seq, ()):
            if anchor.hash != here.hash:
                self.missed = anchor
                return False
            self.anchored = here.seq
        return True

    def broken(self, seq: int | None, reason: str) -> Verdict:
        """The verdict on a chain that is good up to here."""
        return Verdict(ok=False, count=self.last.seq, head_hash=self.last.hash, first_bad=seq, reason_zh=reason)


def own_hash(entry: AuditEntry, seq: int) -> str:
    """The hash that the entry's fields give under that number; "" where they hold what no entry can hold."""
    try:
        return entry_hash(seq, entry.at, entry.actor, entry.action, entry.subject, entry.payload_hash, entry.prev_hash)
    except (TypeError, ValueError, AttributeError, OverflowError):
        return ""


def _payload_hash(entry: AuditEntry) -> str:
    try:
        return hashlib.sha256(entry.payload.encode()).hexdigest()
    except (ValueError, AttributeError):
        return ""


# -- the end of the chain ----------------------------------------------------------------------------------------------
def _check_end(walk: _Walk, head: Head | None, anchors: Sequence[Anchor]) -> Verdict:
    last = walk.last
    if walk.missed is not None:
        return walk.broken(*_rebuilt(walk, walk.missed))
    if head is None and last.seq:
        return walk.broken(None, said("链头记录缺失：第 %(seq)s 条之后是否还有记录，无从判断。", seq=last.seq))
    if head is not None and head.seq > last.seq:
        return walk.broken(
            last.seq + 1,
            said("尾部被截断：链头记有 %(noted)s 条，现只有 %(count)s 条。", noted=head.seq, count=last.seq),
        )
    if head is not None and head.seq < last.seq:
        return walk.broken(
            head.seq + 1, said("链头只记到第 %(seq)s 条：其后的记录是插入的，或链头被改动。", seq=head.seq)
        )
    if head is not None and head.hash != last.hash:
        return walk.broken(
            last.seq, said("第 %(seq)s 条（最后一条）与链头不符：它被改动、替换，或链头被改动。", seq=last.seq)
        )
    beyond = [anchor for anchor in anchors if anchor.count > last.seq]
    if beyond:
        known = max(anchor.count for anchor in beyond)
        return walk.broken(
            last.seq + 1,
            said(
                "尾部被截断：锚点记有 %(noted)s 条，现只有 %(count)s 条，链头也已被改动。", noted=known, count=last.seq
            ),
        )
    return Verdict(ok=True, count=last.seq, head_hash=last.hash, first_bad=None, reason_zh=_praise(walk, anchors))


def _praise(walk: _Walk, anchors: Sequence[Anchor]) -> str:
    text = said("审计链完整：共 %(count)s 条，链头 %(hash)s", count=walk.last.seq, hash=walk.last.hash)
    compared = sum(anchor.count >= walk.start.seq for anchor in anchors)
    if compared:
        return said("%(text)s；与 %(count)s 个锚点相符。", text=text, count=compared)
    return said("%(text)s。未与外部锚点核对：不能排除尾部连同链头被截断，或整条链被重建。", text=text)


def _rebuilt(walk: _Walk, anchor: Anchor) -> tuple[int, str]:
    noted = f"{anchor.at.astimezone(_BEIJING):%Y-%m-%d %H:%M}"
    where = (
        said("第 %(first)s 至 %(last)s 条之间", first=walk.anchored + 1, last=anchor.count)
        if anchor.count > walk.anchored + 1
        else said("此处")
    )
    reason = said(
        "与锚点不符：第 %(seq)s 条不是锚点（%(noted)s）所记的那一条，链在%(where)s被重建或替换。",
        seq=anchor.count,
        noted=noted,
        where=where,
    )
    return anchor.count, reason


# -- what happened, as far as the rows still tell ----------------------------------------------------------------------
def _diagnose(walk: _Walk, entry: AuditEntry, following: Iterator[AuditEntry]) -> tuple[int, str]:
    """The first wrong number and the reason, for the first entry that does not fit and those that follow it."""
    due = walk.last.seq + 1
    if walk.missed is not None:
        return _rebuilt(walk, walk.missed)
    if entry.seq < due:
        return entry.seq, said(
            "第 %(seq)s 条重复出现或次序颠倒：它排在第 %(before)s 条之后。", seq=entry.seq, before=walk.last.seq
        )
    # The entry that was written here can be known by what it follows and by the hash it gives under this number.
    elsewhere = any(other.prev_hash == walk.last.hash and own_hash(other, due) == other.hash for other in following)
    if entry.seq > due:
        return _missing(walk, entry, elsewhere=elsewhere)
    return _wrong(walk, entry, elsewhere=elsewhere)


def _missing(walk: _Walk, entry: AuditEntry, *, elsewhere: bool) -> tuple[int, str]:
    due = walk.last.seq + 1
    if elsewhere:
        return due, said("第 %(seq)s 条不在原位：它被移到了后面。", seq=due)
    if entry.prev_hash == walk.last.hash and own_hash(entry, due) == entry.hash:
        return due, said("第 %(seq)s 条的编号被改成了 %(now)s。", seq=due, now=entry.seq)
    return due, said("%(span)s被删除。", span=_span(due, entry.seq - 1))


def _wrong(walk: _Walk, entry: AuditEntry, *, elsewhere: bool) -> tuple[int, str]:
    due = entry.seq
    if entry.prev_hash == walk.last.hash and own_hash(entry, due) == entry.hash:
        return due, said("第 %(seq)s 条的内容被改动：与写入时的摘要不符。", seq=due)
    written_as = _number_near(entry)
    if written_as is not None and walk.passed(written_as) == Head(written_as, entry.hash):
        return due, said("第 %(seq)s 条是插入的：它是第 %(other)s 条的副本。", seq=due, other=written_as)
    if elsewhere:
        if written_as is not None and written_as != due:
            return due, said("次序被调换：第 %(seq)s 条的位置上是原第 %(other)s 条。", seq=due, other=written_as)
        return due, said("第 %(seq)s 条是插入的：原第 %(seq)s 条排在它之后。", seq=due)
    if written_as is None:
        return due, said("第 %(seq)s 条被改动：时间、人员、动作、对象、摘要或衔接与写入时不符。", seq=due)
    if written_as > due:
        return due, said("原%(span)s被删除，其后各条被重新编号。", span=_span(due, written_as - 1))
    if written_as < due:
        return written_as, said("%(span)s是插入的，其后各条被重新编号。", span=_span(written_as, due - 1))
    return _replaced_before(walk, due)


def _replaced_before(walk: _Walk, due: int) -> tuple[int, str]:
    if walk.last == walk.start:
        return due, said("第 %(seq)s 条不接在起点之后：起点不对，或此前的记录被替换。", seq=due)
    before = walk.last.seq
    return before, said(
        "第 %(before)s 条被改动或替换，并重算了摘要：第 %(seq)s 条仍记着原来的摘要。", before=before, seq=due
    )


def _number_near(entry: AuditEntry) -> int | None:
    """The number under which the entry was written, where that is not too far away."""
    for distance in range(_SEARCH):
        for number in (entry.seq + distance, entry.seq - distance):
            if number > 0 and own_hash(entry, number) == entry.hash:
                return number
    return None


def _span(first: int, last: int) -> str:
    return (
        said("第 %(first)s 条", first=first)
        if first == last
        else said("第 %(first)s 至 %(last)s 条", first=first, last=last)
    )
