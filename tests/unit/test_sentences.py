"""A sentence made of values is Chinese for everybody, and can be made again in another language."""

from __future__ import annotations

import copy
import json

import pytest

from huiying.domain.errors import NotFound
from huiying.domain.kinds import Severity
from huiying.domain.sentences import Recorded, Sentence, listed, said, sentence_in, term, together
from huiying.web.pages.words import speaking

_ENGLISH = {
    "没有编号为 %(no)s 的事项。": "There is no incident %(no)s.",
    "%(clock)s为%(severity)s。": "%(clock)s is %(severity)s.",
    "可用：%(all)s。": "Available: %(all)s.",
    "权威信息发布": "Authoritative release",
    "重大": "Major",
    "一般": "General",
    "、": ", ",
    "%(first)s%(then)s": "%(first)s %(then)s",
}
HOSTILE = ["%(no)s", "%s", "%", "%%", "{x}", "{0}", "%(clock)s %d", "100%", "重大", "没有编号为 %(no)s 的事项。"]


def english(text: str) -> str:
    return text.told(english) if isinstance(text, Sentence) else _ENGLISH.get(text, text)


def test_it_is_the_chinese_text_and_nothing_else_for_who_does_not_ask():
    told = said("没有编号为 %(no)s 的事项。", no="2026-0001")
    assert told == "没有编号为 2026-0001 的事项。"
    assert json.loads(json.dumps({"detail": told})) == {"detail": "没有编号为 2026-0001 的事项。"}
    assert type(str(told)) is str


def test_words_names_of_ours_and_lists_are_translated_with_it():
    told = said("%(clock)s为%(severity)s。", clock=term("权威信息发布"), severity=Severity.MAJOR)
    assert (told, english(told)) == ("权威信息发布为重大。", "Authoritative release is Major.")
    told = said("可用：%(all)s。", all=listed([Severity.MAJOR, Severity.GENERAL]))
    assert (told, english(told)) == ("可用：重大、一般。", "Available: Major, General.")


def test_sentences_follow_each_other_as_the_language_wants_it():
    told = together(said("没有编号为 %(no)s 的事项。", no="1"), "", said("没有编号为 %(no)s 的事项。", no="2"))
    assert told == "没有编号为 1 的事项。没有编号为 2 的事项。"
    assert english(told) == "There is no incident 1. There is no incident 2."
    assert together() == ""


@pytest.mark.parametrize("typed", HOSTILE)
def test_what_a_person_typed_comes_out_as_it_was_typed(typed):
    told = said("没有编号为 %(no)s 的事项。", no=typed)
    assert told == "没有编号为 " + typed + " 的事项。"
    assert english(told) == "There is no incident " + typed + "."
    outer = said("可用：%(all)s。", all=listed([typed, told]))
    assert english(outer) == "Available: " + typed + ", There is no incident " + typed + ".."


def test_a_name_with_a_percent_sign_is_no_template():
    assert english(term("完成 100% 时 %(no)s")) == "完成 100% 时 %(no)s"
    assert said("已完成 100%") == "已完成 100%"


def test_it_stays_what_it_is_when_its_record_is_copied_and_when_it_is_raised():
    told = said("没有编号为 %(no)s 的事项。", no="1")
    assert copy.deepcopy([told])[0] is told
    assert copy.copy(told) is told
    assert sentence_in(NotFound(told)) is told
    assert sentence_in(ValueError()) == ""


# -- at the desk -------------------------------------------------------------------------------------------------------


def test_the_desk_says_it_in_either_language():
    told = said("没有编号为 %(no)s 的事项。", no="%(no)s")
    assert speaking("zh")(told) == "没有编号为 %(no)s 的事项。"
    assert speaking("en")(told) == "There is no incident %(no)s."
    assert speaking("en")("") == ""


def test_a_recorded_sentence_is_recognised_by_its_template():
    say = speaking("en")
    recorded = str(said("「%(clock)s」将由超时变为按时", clock="权威信息发布"))
    assert say(recorded) == recorded
    assert say(Recorded(recorded)) == "“Authoritative release” would turn from overdue into met on time"
    assert say(Recorded("核验人即登记人")) == "The reviewer also entered it"
    assert speaking("zh")(Recorded(recorded)) == recorded


@pytest.mark.parametrize("typed", HOSTILE)
def test_a_recorded_value_is_no_template_either(typed):
    recorded = str(said("「%(clock)s」将由超时变为按时", clock=typed))
    assert typed in speaking("en")(Recorded(recorded)) or typed in _ENGLISH
    assert speaking("en")(Recorded("对方说：" + typed)) == "对方说：" + typed
