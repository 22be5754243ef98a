"""Whoever reads the desk in English finds every text of it in English."""

from __future__ import annotations

import ast
import re

from babel.messages.pofile import read_po

from huiying.web.pages.words import CATALOGUE
from tests.tools import i18n_check, i18n_sources


def test_every_text_is_there_in_english_and_none_is_left_over():
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="en", abort_invalid=True)
    assert list(i18n_check.findings(catalogue, i18n_check.texts())) == []


def test_no_sentence_is_glued_together_where_nobody_could_translate_it():
    assert list(i18n_sources.findings()) == []


def test_a_glued_sentence_is_named_and_so_is_a_template_without_its_value():
    source = ast.parse(
        'raise NotFound(f"没有编号为 {no} 的事项。")\nsaid("没有 %(no)s", other=no)\nsaid(text, no=no.text)\nsaid(a.b, no=1)'
    )
    found = [line for node in i18n_sources.walked(source) for line in i18n_sources.faults_of(node)]
    assert found == [
        "compose it with said(): f'没有编号为 {no} 的事项。'",
        "values and placeholders differ: 没有 %(no)s",
        "said() wants its template written out, or the catalogue is never asked for it",
    ]


def test_a_missing_and_a_left_over_text_are_named():
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="en", abort_invalid=True)
    wanted = {**i18n_check.texts(), "这一句没有英文": "here:1"}
    catalogue.add("从来没有人说过的话", "Nobody ever said so")
    found = list(i18n_check.findings(catalogue, wanted))
    assert "here:1: not translated: 这一句没有英文" in found
    assert any("从来没有人说过的话" in line for line in found)


#: Where a comma stands in a file that a machine reads, it is no Chinese punctuation.
_OF_A_TABLE = ("单位,职责,人员,开始,结束", "日期,类型")


def test_what_is_read_in_chinese_has_chinese_punctuation():
    narrow = re.compile(r"[\u4e00-\u9fff][,;:?!](?!\w+:)|[\u4e00-\u9fff]\((?=[\u4e00-\u9fff])")
    found = []
    for text, place in i18n_check.texts().items():
        plain = text
        for head in _OF_A_TABLE:
            plain = plain.replace(head, "")
        if narrow.search(plain):
            found.append(f"{place}: {text}")
    assert found == []
