"""Canonical JSON is RFC 8785 within our subset, and the hash of a link is what the documentation says."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from huiying.domain.audit import GENESIS, canonical, entry_hash, link, rfc3339
from huiying.domain.kinds import Kind

_texts = st.text(max_size=12)  # hypothesis leaves lone surrogates out of text unless asked
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=5),
    max_leaves=25,
)
_instants = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=400)
@given(_values)
def test_canonical_is_rfc_8785_within_our_subset(value: Any):
    assert canonical(value).encode() == rfc8785.dumps(value)


@given(st.integers(1, 2**53 - 1), _instants, st.tuples(_texts, _texts, _texts), _values)
def test_a_link_hashes_the_canonical_text_of_its_fields(
    seq: int, at: datetime, texts: tuple[str, str, str], payload: Any
):
    made = link(seq, at, *texts, payload, GENESIS)
    payload_hash = hashlib.sha256(rfc8785.dumps(payload)).hexdigest()
    head: Any = dict(zip(("actor", "action", "subject"), texts, strict=True))
    head |= {"seq": seq, "at": rfc3339(at), "payload_hash": payload_hash}
    assert made.hash == hashlib.sha256(b"\x01" + bytes(32) + rfc8785.dumps(head)).hexdigest()


def test_keys_sort_by_utf_16_code_units_not_by_code_points():
    assert canonical({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'


def test_time_is_utc_with_microseconds_whatever_zone_it_came_in():
    beijing = timezone(timedelta(hours=8))
    assert rfc3339(datetime(2025, 6, 2, 9, 0, tzinfo=beijing)) == "2025-06-02T01:00:00.000000Z"


@pytest.mark.parametrize("value", [1.0, float("nan"), 2**53, -(2**53), "\ud800", {"\ud800": 1}, b"x", {1: 2}, object()])
def test_what_may_not_stand_in_an_entry_raises_before_anything_is_written(value: Any):
    with pytest.raises((ValueError, TypeError)):
        canonical(value)
    with pytest.raises((ValueError, TypeError)):
        canonical({"deep": [value]})


def test_words_of_the_vocabulary_stand_as_their_values():
    assert canonical({"kind": Kind.EMERGENCY}) == '{"kind":"emergency"}'


@pytest.mark.parametrize("field", range(7))
def test_every_field_is_covered_by_the_hash(field: int):
    fields: list[Any] = [1, datetime(2025, 6, 2, tzinfo=UTC), "actor", "action", "subject", "0" * 64, GENESIS]
    before = entry_hash(*fields)
    fields[field] = [2, datetime(2025, 6, 2, 0, 0, 0, 1, tzinfo=UTC), "a", "b", "c", "1" * 64, "f" * 64][field]
    assert entry_hash(*fields) != before
