"""Whoever reads the desk in English finds every text of it in English."""

from __future__ import annotations

from babel.messages.pofile import read_po

from huiying.web.pages.words import CATALOGUE
from tests.tools import i18n_check


def test_every_text_is_there_in_english_and_none_is_left_over():
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="en", abort_invalid=True)
    assert list(i18n_check.findings(catalogue, i18n_check.texts())) == []


def test_a_missing_and_a_left_over_text_are_named():
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="en", abort_invalid=True)
    wanted = {**i18n_check.texts(), "这一句没有英文": "here:1"}
    catalogue.add("从来没有人说过的话", "Nobody ever said so")
    found = list(i18n_check.findings(catalogue, wanted))
    assert "here:1: not translated: 这一句没有英文" in found
    assert any("从来没有人说过的话" in line for line in found)
