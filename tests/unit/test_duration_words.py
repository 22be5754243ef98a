"""Time left in words: the shared vectors, and that rounding never promises time that is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from huiying.domain.duration import human_left, words_laid_down, words_left
from huiying.domain.masking import mask_email, mask_phone

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "human_left.json").read_text("utf-8"))["vectors"]


@pytest.mark.parametrize(("seconds", "words"), VECTORS, ids=str)
def test_words_on_screens_are_the_shared_vectors(seconds: int, words: str):
    assert human_left(seconds) == words


_UNITS = {"天": 86400, "小时": 3600, "分钟": 60, "分": 60, "秒": 1}


def _seconds_of(words: str) -> int:
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+) (天|小时|分钟|分|秒)", words))


@given(st.integers(1, 10_000_000))
def test_time_left_is_rounded_down(seconds: int):
    for words in (human_left(seconds), words_left(seconds)):
        assert words.startswith("剩")
        if "不足" not in words:
            assert 0 <= seconds - _seconds_of(words) < 3600


@given(st.integers(1, 10_000_000))
def test_time_over_counts_up(seconds: int):
    for words in (human_left(-seconds), words_left(-seconds)):
        assert words.startswith(("超", "已超时"))
        if "不足" not in words:
            assert 0 <= seconds - _seconds_of(words) < 3600


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (600, "10 分钟"),
        (5 * 3600, "5 小时"),
        (5400, "1 小时 30 分"),
        (72 * 3600, "72 小时"),
        (96 * 3600, "4 天"),
        (5430, "1 小时 30 分 30 秒"),
    ],
)
def test_what_a_rule_lays_down_is_named_without_what_is_nothing(seconds: int, words: str):
    assert words_laid_down(seconds) == words


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("13812341234", "138****1234"),
        ("+86 13812341234", "+86 138****1234"),
        ("0858-8212345", "0858-****345"),
        ("85221234", "****234"),
        ("12345", "****"),
        ("", ""),
        ("abc", "****"),
    ],
)
def test_phone_numbers_are_masked(number: str, masked: str):
    assert mask_phone(number) == masked


@given(st.from_regex(r"1[3-9]\d{9}", fullmatch=True))
def test_a_masked_mobile_keeps_seven_digits_at_most(number: str):
    assert sum(character.isdigit() for character in mask_phone(number)) == 7


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("zhang.san@example.gov.cn", "z***@example.gov.cn"),
        ("a@b.example", "a***@b.example"),
        ("", ""),
        ("no-address", "***"),
    ],
)
def test_mail_addresses_are_masked(address: str, masked: str):
    assert mask_email(address) == masked
