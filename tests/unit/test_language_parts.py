"""How parts of a page in another language are marked, and how the tests hear them."""

from __future__ import annotations

import re

import pytest
from markupsafe import Markup

from huiying.web.pages import marked
from huiying.web.pages.shell import FOLDER, environment
from huiying.web.pages.words import speaking
from tests import languages

ZH = '<span lang="zh-CN">{}</span>'


def test_data_are_marked_in_english_and_left_alone_in_chinese():
    assert marked.data("示例市水务局", "en") == ZH.format("示例市水务局")
    assert marked.data("示例市水务局", "zh") == "示例市水务局"
    assert marked.data("Water Board", "en") == "Water Board"
    assert marked.data("", "en") == ""
    assert marked.data(None, "en") is None


def test_of_a_sentence_only_the_chinese_in_it_is_marked():
    shown = marked.mixed("Signed. Waiting for 张三 and 李 四 to sign.", "en")
    assert shown == f"Signed. Waiting for {ZH.format('张三')} and {ZH.format('李 四')} to sign."


@pytest.mark.parametrize("way", [marked.data, marked.mixed])
def test_what_is_marked_stays_text(way):
    shown = way("<b>示例</b> & <i>例</i>", "en")
    assert isinstance(shown, Markup)
    assert "<b>" not in shown
    assert "&amp;" in shown
    assert way("<b>plain</b>", "en") == "<b>plain</b>"  # not marked as harmless: the template escapes it


def test_an_element_that_holds_nothing_else_carries_the_language_itself():
    template = environment("en").from_string("<td{{ name|zh_attr }}>{{ name }}</td>")
    assert template.render(name="示例<b>") == '<td lang="zh-CN">示例&lt;b&gt;</td>'
    assert template.render(name="Board") == "<td>Board</td>"
    assert "lang" not in environment("zh").from_string("<td{{ name|zh_attr }}>").render(name="示例")


def test_a_name_in_a_translated_sentence_is_escaped_and_marked():
    template = environment("en").from_string(
        '{{ _("已签字交班（%(unit)s），等待%(name)s签字接班")|e|format(unit=u|zh, name=n|zh) }}'
    )
    shown = template.render(u="<水务局>", n="<Anne>")
    assert shown == f"You have signed ({ZH.format('&lt;水务局&gt;')}); waiting for &lt;Anne&gt;"


def test_nothing_is_translated_into_nothing():
    assert speaking("en")("") == ""  # and not into the head of the catalogue
    assert speaking("en")("签收") == "Acknowledge"


# -- the ear of the tests ----------------------------------------------------------------------------------------------


def heard(html: str) -> list[str]:
    return [part.text for part in languages.unmarked(languages.read(f'<html lang="en"><body>{html}</body></html>'))]


def test_unmarked_text_attributes_and_values_are_heard():
    assert heard('<p title="甲">x</p>') == ["甲"]
    assert heard('<input value="甲" placeholder="乙">') == ["甲", "乙"]
    assert heard("<p>Lead 甲</p><p>Done。</p>") == ["Lead 甲", "Done。"]
    assert heard('<div lang="zh-CN"><p>甲<b lang="en">乙</b></p></div>') == ["乙"]
    assert heard("<option lang=zh-CN>甲</option><option>乙</option>") == ["乙"]
    assert heard("<br>甲<img alt='乙'>") == ["甲", "乙"]
    assert heard('<input type="hidden" value="甲"><script>"乙"</script><meta content="丙">') == []


def test_a_message_in_chinese_alone_is_heard_although_it_is_marked():
    def said(html: str) -> list[str]:
        return languages.untranslated(languages.read(html, "en"))

    assert said(f'<div role="alert"><p>{ZH.format("未登记。")}</p></div>') == ["未登记。"]
    assert said(f'<div class="notice"><ul><li>Saved.</li><li>{ZH.format("未改动")}</li></ul></div>') == ["未改动"]
    assert said(f'<p class="field-error">{ZH.format("「")}x{ZH.format("」不是时间")}</p>') != []
    assert said(f'<div role="status"><p>Waiting for {ZH.format("张三")} to sign.</p></div>') == []
    assert said(f"<p>{ZH.format('张三')}</p>") == []


@pytest.mark.parametrize(
    "line",
    [
        "Reason:None",
        "Done;next",
        "due(estimated)",
        "(a)b",
        "Nothing .",
        "1 messages",
        f"Lead{ZH.format('甲')}",
        f"{ZH.format('甲')}has signed",
    ],
)
def test_lines_that_are_no_english_are_heard(line: str):
    assert languages.clumsy(languages.read(f"<p>{line}</p>", "en"))


@pytest.mark.parametrize(
    "line", ["Reason: none", "1 message", "11 messages", "at 08:40 (Beijing time)", f"Lead {ZH.format('甲')}, B", "1 less", "a<br>B"]
)  # fmt: skip
def test_lines_that_are_english_pass(line: str):
    assert languages.clumsy(languages.read(f"<p>{line}</p>", "en")) == []


def test_english_words_on_a_chinese_page_are_heard():
    def words(html: str) -> list[str]:
        found = languages.latin_words(languages.read(html, "zh-CN"), frozenset({"Prefect"}))
        return [line.split()[0] for line in found]

    assert words("<p>打开 Prefect 的 Runs</p>") == ["Runs"]
    assert words("<p>见 https://a.example/b 或 a@b.example</p><code>Runs</code><p>运行 huiying backup</p>") == []
    assert words("<button lang=en>English</button><td>2026-11-22T08:30</td><td>webhook(回调)</td>") == []


def test_templates_have_no_chinese_that_is_not_translated():
    own = re.compile(r"\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
    found = []
    for path in sorted(FOLDER.rglob("*.html")):
        if path.name != "ack.html":  # goes to people without an account, in the language of the messages
            rest = own.sub("", path.read_text("utf-8")).replace("中文", "")
            found += [f"{path.name}: {words}" for words in re.findall(rf"{languages.CHINESE.pattern}+", rest)]
    assert found == []


def test_styles_write_no_words_of_a_language():
    folder = FOLDER.parent / "static"
    written = [
        rule for path in sorted(folder.glob("*.css")) for rule in re.findall(r"content:[^;}]+", path.read_text("utf-8"))
    ]
    assert written
    assert [rule for rule in written if languages.CHINESE.search(rule)] == []
