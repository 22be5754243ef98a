"""Whatever is done to whichever entry of the chain, the check says so, names the first wrong number and says what it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from huiying.domain.audit import GENESIS, AuditEntry, entry_hash, link
from huiying.domain.audit_check import Anchor, Head, check, parse_anchors

_START = datetime(2025, 6, 2, 1, 0, tzinfo=UTC)
_N = 14


def _chain(count: int, word: str = "登记", start: Head = Head(0, GENESIS)) -> list[AuditEntry]:  # noqa: B008
    entries: list[AuditEntry] = []
    previous = start.hash
    for seq in range(start.seq + 1, start.seq + count + 1):
        at = _START + timedelta(minutes=seq)
        entries.append(
            link(seq, at, "person:zhang", "incident.register", f"2026-{seq:04}", {"题": word, "n": seq}, previous)
        )
        previous = entries[-1].hash
    return entries


CHAIN = _chain(_N)
HEAD = Head(_N, CHAIN[-1].hash)
EVERY = pytest.mark.parametrize("seq", range(1, _N + 1))


def _anchor(entries: Sequence[AuditEntry], count: int) -> Anchor:
    return Anchor(count, entries[count - 1].hash if count else GENESIS, _START)


def _bad(
    entries: Sequence[AuditEntry], head: Head | None = HEAD, anchors: Sequence[Anchor] = ()
) -> tuple[int | None, str]:
    verdict = check(entries, head, anchors)
    assert not verdict.ok
    return verdict.first_bad, verdict.reason_zh


def _rehash(entry: AuditEntry) -> AuditEntry:
    return replace(
        entry,
        hash=entry_hash(
            entry.seq, entry.at, entry.actor, entry.action, entry.subject, entry.payload_hash, entry.prev_hash
        ),
    )


def _renumber(entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    return [replace(entry, seq=number) for number, entry in enumerate(entries, 1)]


def _rebuild(entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    made: list[AuditEntry] = []
    for number, entry in enumerate(entries, 1):
        previous = made[-1].hash if made else GENESIS
        made.append(_rehash(replace(entry, seq=number, prev_hash=previous)))
    return made


def test_a_chain_as_it_was_written_is_good():
    verdict = check(CHAIN, HEAD)
    assert (verdict.ok, verdict.count, verdict.head_hash, verdict.first_bad) == (True, _N, HEAD.hash, None)
    assert "未与外部锚点核对" in verdict.reason_zh


def test_with_anchors_the_sentence_says_that_they_were_met():
    verdict = check(CHAIN, HEAD, [_anchor(CHAIN, 0), _anchor(CHAIN, 5), _anchor(CHAIN, _N)])
    assert verdict.ok
    assert "与 3 个锚点相符" in verdict.reason_zh


@pytest.mark.parametrize("head", [None, Head(0, GENESIS)])
def test_an_empty_chain_is_good(head: Head | None):
    assert check([], head).ok


_EDITS: dict[str, Any] = {
    "at": _START,
    "actor": "person:li",
    "action": "incident.grade",
    "subject": "2026-9999",
    "payload": '{"n":0}',
    "payload_hash": "0" * 64,
    "prev_hash": "1" * 64,
    "hash": "2" * 64,
}


@EVERY
@pytest.mark.parametrize("field", _EDITS)
def test_an_edited_entry_is_named(seq: int, field: str):
    entries = list(CHAIN)
    entries[seq - 1] = replace(entries[seq - 1], **{field: _EDITS[field]})
    first_bad, reason = _bad(entries)
    assert first_bad == seq
    assert f"第 {seq} 条" in reason
    assert ("内容被改动" if field == "payload" else "被改动") in reason


@EVERY
@pytest.mark.parametrize("value", [None, b"x", "\ud800", 5])
def test_a_value_that_no_entry_can_hold_is_named(seq: int, value: Any):
    for field in ("actor", "payload", "hash", "prev_hash", "at"):
        entries = list(CHAIN)
        entries[seq - 1] = replace(entries[seq - 1], **{field: value})
        assert _bad(entries)[0] == seq


@EVERY
def test_an_entry_edited_together_with_its_own_hash_is_named(seq: int):
    entries = list(CHAIN)
    entries[seq - 1] = _rehash(replace(entries[seq - 1], actor="person:li"))
    first_bad, reason = _bad(entries)
    assert first_bad == seq
    assert "重算了摘要" in reason or "与链头不符" in reason


@EVERY
def test_a_deleted_entry_is_named(seq: int):
    first_bad, reason = _bad([entry for entry in CHAIN if entry.seq != seq])
    assert first_bad == seq
    assert (f"第 {seq} 条被删除" if seq < _N else "尾部被截断") in reason


def test_several_deleted_entries_are_named():
    assert _bad([entry for entry in CHAIN if entry.seq not in {4, 5, 6}]) == (4, "第 4 至 6 条被删除。")


@EVERY
def test_a_deleted_entry_is_named_though_the_rest_was_renumbered(seq: int):
    first_bad, reason = _bad(_renumber([entry for entry in CHAIN if entry.seq != seq]))
    assert first_bad == seq
    assert (f"原第 {seq} 条被删除，其后各条被重新编号" if seq < _N else "尾部被截断") in reason


@pytest.mark.parametrize("seq", range(1, _N + 2))
@pytest.mark.parametrize("kind", ["copied", "invented", "linked"])
def test_an_inserted_entry_is_named(seq: int, kind: str):
    previous = CHAIN[seq - 2].hash if seq > 1 else GENESIS
    forged = {
        "copied": CHAIN[0],
        "invented": replace(CHAIN[0], seq=seq, prev_hash=previous, actor="person:li"),
        "linked": link(seq, _START, "person:li", "incident.register", "2026-0001", {}, previous),
    }[kind]
    first_bad, reason = _bad(_renumber([*CHAIN[: seq - 1], forged, *CHAIN[seq - 1 :]]))
    if kind == "copied" and seq <= 2:  # twice the first entry: the second of the two is one too many
        assert first_bad == 2
    else:
        assert first_bad == seq
    assert "插入" in reason or (kind, seq) == ("invented", _N + 1)


@EVERY
def test_a_repeated_line_is_named(seq: int):
    first_bad, reason = _bad([*CHAIN[:seq], CHAIN[seq - 1], *CHAIN[seq:]])
    assert first_bad == seq
    assert "重复" in reason


@pytest.mark.parametrize(("first", "second"), [(i, j) for i in range(1, _N + 1) for j in range(i + 1, _N + 1)])
def test_two_exchanged_entries_are_named(first: int, second: int):
    entries = list(CHAIN)
    entries[first - 1], entries[second - 1] = entries[second - 1], entries[first - 1]
    numbered = _bad(_renumber(entries))
    assert numbered == (first, f"次序被调换：第 {first} 条的位置上是原第 {second} 条。")
    assert _bad(entries) == (first, f"第 {first} 条不在原位：它被移到了后面。")


@EVERY
def test_an_entry_moved_to_the_end_is_named(seq: int):
    if seq == _N:
        return
    entries = _renumber([*CHAIN[: seq - 1], *CHAIN[seq:], CHAIN[seq - 1]])
    first_bad, reason = _bad(entries)
    assert first_bad == seq
    assert "次序被调换" in reason


def test_a_number_that_was_changed_is_named():
    entries = list(CHAIN)
    entries[-1] = replace(entries[-1], seq=_N + 7)
    assert _bad(entries) == (_N, f"第 {_N} 条的编号被改成了 {_N + 7}。")


@pytest.mark.parametrize("left", range(_N))
def test_a_cut_off_tail_shows_against_the_head_row(left: int):
    assert _bad(CHAIN[:left]) == (left + 1, f"尾部被截断：链头记有 {_N} 条，现只有 {left} 条。")


@pytest.mark.parametrize("left", range(_N))
def test_a_tail_cut_off_together_with_the_head_row_shows_against_an_anchor(left: int):
    head = Head(left, CHAIN[left - 1].hash if left else GENESIS)
    assert check(CHAIN[:left], head).ok
    first_bad, reason = _bad(CHAIN[:left], head, [_anchor(CHAIN, _N)])
    assert first_bad == left + 1
    assert "锚点" in reason


@pytest.mark.parametrize("anchored", range(1, _N + 1))
def test_a_chain_rebuilt_from_its_first_entry_shows_against_any_anchor(anchored: int):
    rebuilt = _rebuild([replace(CHAIN[0], actor="person:li"), *CHAIN[1:]])
    head = Head(_N, rebuilt[-1].hash)
    assert check(rebuilt, head).ok
    first_bad, reason = _bad(rebuilt, head, [_anchor(CHAIN, anchored)])
    assert first_bad == anchored
    assert "重建" in reason


def test_a_chain_rebuilt_in_part_is_narrowed_down_by_the_anchors():
    rebuilt = _rebuild([*CHAIN[:6], replace(CHAIN[6], actor="person:li"), *CHAIN[7:]])
    first_bad, reason = _bad(rebuilt, Head(_N, rebuilt[-1].hash), [_anchor(CHAIN, 4), _anchor(CHAIN, 9)])
    assert first_bad == 9
    assert "第 5 至 9 条之间" in reason


def test_two_anchors_of_one_place_cannot_both_be_right():
    other = Anchor(5, "f" * 64, _START)
    for anchors in ([other, _anchor(CHAIN, 5)], [_anchor(CHAIN, 5), other]):
        assert _bad(CHAIN, HEAD, anchors)[0] == 5


@pytest.mark.parametrize("count", [1, _N, _N + 5])
def test_the_chain_of_another_database_shows_against_an_anchor(count: int):
    other = _chain(count, "另一库")
    assert check(other, Head(count, other[-1].hash)).ok
    assert not check(other, Head(count, other[-1].hash), [_anchor(CHAIN, 1)]).ok


def test_a_missing_head_row_is_no_end():
    assert _bad(CHAIN, None)[1].startswith("链头记录缺失")


@pytest.mark.parametrize("head", [Head(_N - 1, CHAIN[-2].hash), Head(_N, "3" * 64), Head(_N + 1, CHAIN[-1].hash)])
def test_a_changed_head_row_is_found(head: Head):
    assert not check(CHAIN, head).ok


def test_an_extract_is_checked_from_where_it_begins():
    start = Head(5, CHAIN[4].hash)
    verdict = check(CHAIN[5:], HEAD, [_anchor(CHAIN, 3), _anchor(CHAIN, 5), _anchor(CHAIN, 9)], start=start)
    assert verdict.ok
    assert "与 2 个锚点相符" in verdict.reason_zh
    assert not check(CHAIN[5:], HEAD, start=Head(5, "4" * 64)).ok
    assert not check(CHAIN[6:], HEAD, start=start).ok
    assert not check(CHAIN[5:], HEAD, [Anchor(5, "5" * 64, _START)], start=start).ok


def test_nothing_is_read_twice_and_nothing_is_kept():
    passed = 0

    def stream():
        nonlocal passed
        for entry in CHAIN:
            passed += 1
            yield entry

    assert check(stream(), HEAD).ok
    assert passed == _N


def test_an_anchor_is_a_line_of_text_and_back():
    anchor = Anchor(12345, "ab" * 32, datetime(2025, 6, 2, 0, 30, tzinfo=UTC))
    assert anchor.text == f"审计锚点 2025-06-02T08:30:00+08:00 共 12345 条 链头 {'ab' * 32}"
    noted = f"\ufeff值班系统正常\r\n  {anchor.text}  \r\n审计锚点 2025-06-02T08:30:00+08:00 共12345条 链头{'ab' * 32}\n其他\n"
    assert parse_anchors(noted) == [anchor, anchor]


@pytest.mark.parametrize(
    "line",
    [
        "审计锚点",
        f"审计锚点 昨天 共 1 条 链头 {'a' * 64}",
        f"审计锚点 2025-06-02T08:30:00 共 1 条 链头 {'a' * 64}",
        f"审计锚点 2025-06-02T08:30:00+08:00 共 1 条 链头 {'a' * 63}",
        f"审计锚点 2025-06-02T08:30:00+08:00 共 -1 条 链头 {'a' * 64}",
    ],
)
def test_a_damaged_anchor_line_is_not_passed_over(line: str):
    with pytest.raises(ValueError, match="第 1 行像是审计锚点"):
        parse_anchors(line)
