"""Faults in a pack: each is found, at its line, under its key, in a sentence for a Chinese reader; nothing is loaded."""

from __future__ import annotations

import os
import re
from typing import cast

import pytest

from config.document import MAX_BYTES, MAX_DEPTH, MAX_FINDINGS, MAX_VALUES, Finding
from config.loader import RULES_DIRECTORY, lint, load_pack, load_packs, parse_pack
from huiying.domain.errors import BadRulePack

ZHAOTONG = (RULES_DIRECTORY / "cn-530600-zhaotong-2017.yaml").read_text(encoding="utf-8")
FIRST_CLOCK = "incident_clocks[0]"

#: what is replaced (once) · by what · the key of the finding · words of its sentence
FAULTS = [
    ("schema: 1", "schema: 2", "schema", "整数"),
    ("schema: 1", "schema: true", "schema", "整数"),
    ("schema: 1\n", "", "schema", "缺少"),
    ("id: cn-530600-zhaotong-2017", "id: CN_Zhaotong", "id", "格式"),
    ("title_basis: verbatim", "title_basis: certain", "title_basis", "允许的取值"),
    ("title_basis: verbatim", "title_basis:", "title_basis", "不能为空"),
    ("issuer: 昭通市人民政府办公室", "isuer: 昭通市人民政府办公室", "isuer", "不认识的键"),
    ("  basis: restored", "  basis: unknown", "doc_no.number", "文号"),
    ("  code: '530600'", "  code: 530600", "jurisdiction.code", "引号"),
    ("  code: '530600'", "  code: '000000'", "jurisdiction.code", "national"),
    ("  level: prefecture", "  level: village", "jurisdiction.level", "允许的取值"),
    ("  issued: '2017-05-27'", "  issued: '2017-02-30'", "effective.issued", "日期"),
    ("  issued: '2017-05-27'", "  issued: 27.5.2017", "effective.issued", "日期"),
    ("  published: '2017-06-16'", "  published: '2017-05-01'", "effective.published", "早于"),
    ("  published: '2017-06-16'", "  to: '2017-05-26'", "effective.to", "早于"),
    ("  nominal_year: 2017\n", "", "effective.nominal_year", "所属年度"),
    ("  nominal_year: 2017", "  nominal_year: '2017'", "effective.nominal_year", "整数"),
    ("  yearly: true", "  yearly: yes", "effective.yearly", "true 或 false"),
    ("  sha256: 83b5", "  sha256: XYZ5", "source.sha256", "十六进制"),
    ("  file: 002_82cef311b6be33ac.txt", "  file: ../../etc/passwd", "source.file", "文件名"),
    ("  file: 002_82cef311b6be33ac.txt\n", "", "source.file", "要么"),
    ("stages: [收集, 研判, 回应处置]", "stages: 收集", "stages", "列表"),
    ("stages: [收集, 研判, 回应处置]", "stages: [收集, 收集]", "stages", "重复"),
    ("  regrade_up: by_reason", "  regrade_up: always", "policy.regrade_up", "允许的取值"),
    ("  basis: our_reading", "  basis: law", "policy.basis", "允许的取值"),
    ("    limit: PT5H", "    limit: 5h", f"{FIRST_CLOCK}.limit", "PT5H"),
    ("    limit: PT5H", "    limit: P1D", f"{FIRST_CLOCK}.limit", "PT5H"),
    ("    limit: PT5H", "    limit: PT0H", f"{FIRST_CLOCK}.limit", "大于零"),
    ("    limit: PT5H", "    limit: -PT5H", f"{FIRST_CLOCK}.limit", "时长"),
    ("    limit: PT5H", "    limit: PT99999H", f"{FIRST_CLOCK}.limit", "一年"),
    ("    limit: PT5H", "    limit: 5", f"{FIRST_CLOCK}.limit", "时长"),
    ("    limit: PT5H\n", "", f"{FIRST_CLOCK}.status", "untimed"),
    ("    status: stipulated", "    status: untimed", f"{FIRST_CLOCK}.status", "untimed"),
    ("    status: stipulated", "    status: legal", f"{FIRST_CLOCK}.status", "允许的取值"),
    ("    clause: 六(二)\n", "", f"{FIRST_CLOCK}.clause", "缺少"),
    ("    quote: 严格执行特别重大、重大突发事件最迟5小时内发布权威信息\n", "", f"{FIRST_CLOCK}.quote", "缺少"),
    ("    quote: 严格执行特别重大、重大突发事件最迟5小时内发布权威信息\n", "    quote: '  '\n", f"{FIRST_CLOCK}.quote", "空白"),
    ("    quote: 严格执行特别重大、重大突发事件最迟5小时内发布权威信息\n", '    quote: "a\\nb"\n', f"{FIRST_CLOCK}.quote", "换行"),
    ("    quote: 严格执行特别重大、重大突发事件最迟5小时内发布权威信息\n", '    quote: "a\\u200bb"\n', f"{FIRST_CLOCK}.quote", "不可见"),
    ("      severity: [extra_major, major]", "      severity: [grave]", f"{FIRST_CLOCK}.applies_to.severity[0]", "允许"),
    ("      severity: [extra_major, major]", "      severity: []", f"{FIRST_CLOCK}.applies_to.severity", "不能为空"),
    ("      kind: emergency\n", "      kind: opinion\n", f"{FIRST_CLOCK}.applies_to.severity", "突发事件"),
    ("      kind: emergency\n", "      kind: emergency\n      except: {kind: opinion}\n      basis: 同\n",
     f"{FIRST_CLOCK}.applies_to.except", "同时"),
    ("      field: occurred_at", "      field: happened_at", f"{FIRST_CLOCK}.anchor.field", "允许的取值"),
    ("      field: occurred_at", "      field: captured_at", f"{FIRST_CLOCK}.anchor.field", "允许的取值"),
    ("      stated: false\n", "", f"{FIRST_CLOCK}.anchor.stated", "缺少"),
    ("      basis: 原文未写起算点；", "      reason: 原文未写起算点；", f"{FIRST_CLOCK}.anchor.basis", "缺少"),
    ("    satisfied_by: [authoritative_release, press_conference]\n", "    satisfied_by: []\n",
     f"{FIRST_CLOCK}.satisfied_by", "不能为空"),
    ("    satisfied_by: [authoritative_release, press_conference]\n", "", f"{FIRST_CLOCK}.satisfied_by", "不能为空"),
    ("    satisfied_by: [authoritative_release, press_conference]", "    satisfied_by: [rumour]",
     f"{FIRST_CLOCK}.satisfied_by[0]", "允许的取值"),
    ("    satisfied_basis: 按时", "    satisfied_note: 按时", f"{FIRST_CLOCK}.satisfied_basis", "依据"),
    ("      measures: [circular_criticism, admonitory_talk]", "      measures: [dismissal]",
     f"{FIRST_CLOCK}.on_breach.measures[0]", "允许的取值"),
    ("      basis: 推断：“落实通报批评和约谈制度”写在相邻的一句。\n", "", f"{FIRST_CLOCK}.on_breach.basis", "缺少"),
    ("    rows: [ZT-35]", "    rows: [zt35]", f"{FIRST_CLOCK}.rows[0]", "格式"),
    ("    limit_from: notice.due_at", "    limit_from: somewhere", "incident_clocks[5].limit_from", "允许的取值"),
    ("      source: state_council_transfer", "      kind:", "incident_clocks[5].applies_to", "适用于"),
    ("  - id: press_conference", "  - id: authoritative_release", "incident_clocks[1].id", "重复"),
    ("  - id: ZT-02", "  - id: ZT-01", "obligations[1].id", "重复"),
    ("  - id: ZT-02", "  - id: ZT-35", "obligations[1].id", "重复"),
    ("    kind: workdays", "    kind: workday", "obligations[1].kind", "允许的取值"),
    ("      n: 30", "      n: '30'", "obligations[1].parsed.n", "整数"),
    ("      n: 30", "      n: 0", "obligations[1].parsed.n", "整数"),
    ("      anchor: issued_on", "      anchor: someday", "obligations[1].parsed.anchor", "允许的取值"),
    ("      first_day_counts: false", "      first_day_counts: true", "obligations[1].parsed.first_day_counts", "起算日"),
    ("      every: [year]", "      every: [decade]", "obligations[2].parsed.every[0]", "允许的取值"),
    ("      date: 03-31", "      date: 02-30", "obligations[20].parsed.date", "每年"),
    ("      date: '2017-11-15'", "      date: '20171115'", "obligations[27].parsed.date", "日期"),
    ("      at_least: 2", "      at_least: two", "obligations[29].parsed.at_least", "整数"),
    ("      per: year", "      per: week", "obligations[29].parsed.weeks_without_workdays", "没有工作日的周"),
]  # fmt: skip


def mutate(old: str, new: str) -> tuple[str, int]:
    """The pack with one replacement, and the line where it was made."""
    assert old in ZHAOTONG, old
    at = ZHAOTONG.index(old)
    return ZHAOTONG[:at] + new + ZHAOTONG[at + len(old) :], 1 + ZHAOTONG[:at].count("\n")


@pytest.mark.parametrize(("old", "new", "key", "words"), FAULTS, ids=[f"{f[2]}<-{f[1].strip()[:30]}" for f in FAULTS])
def test_a_fault_is_found_under_its_key_and_nothing_is_loaded(old, new, key, words):
    text, line = mutate(old, new)
    pack, findings = parse_pack("pack.yaml", text.encode())
    assert pack is None
    found = [f for f in findings if f.key == key]
    assert found, [str(f) for f in findings]
    assert words in found[0].message_zh
    # Where the key stands in the replaced line, the finding must point at exactly that line.
    if new.strip().removeprefix("- ").split(":")[0] == key.rsplit(".", 1)[-1].split("[")[0]:
        assert found[0].line == line
    assert all(re.search(r"[\u4e00-\u9fff]", f.message_zh) for f in findings)
    assert all(1 <= f.line <= text.count("\n") + 1 for f in findings)


def test_the_line_of_a_missing_key_is_the_line_of_what_lacks_it():
    text, _ = mutate("      stated: false\n", "")
    _, findings = parse_pack("pack.yaml", text.encode())
    assert [(f.line, f.key) for f in findings] == [
        (1 + text[: text.index("    anchor:")].count("\n"), f"{FIRST_CLOCK}.anchor.stated")
    ]


def test_all_faults_of_a_file_are_told_at_once():
    text = ZHAOTONG.replace("    limit: PT5H", "    limit: 5h").replace("    clause: 六(二)\n", "", 1)
    text = text.replace("  yearly: true", "  yearly: maybe")
    _, findings = parse_pack("pack.yaml", text.encode())
    assert {f.key for f in findings} == {f"{FIRST_CLOCK}.limit", f"{FIRST_CLOCK}.clause", "effective.yearly"}


def test_a_finding_reads_file_line_key_sentence(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(mutate("    limit: PT5H", "    limit: 5h")[0], encoding="utf-8")
    (finding,) = lint([path])
    assert str(finding).startswith(f"{path}:{finding.line}: {FIRST_CLOCK}.limit: ")


def test_a_bad_pack_raises_with_all_its_findings(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(mutate("schema: 1", "schema: 9")[0], encoding="utf-8")
    with pytest.raises(BadRulePack) as refused:
        load_pack(path)
    assert [f.key for f in cast("tuple[Finding, ...]", refused.value.details["findings"])] == ["schema"]
    assert "第" in refused.value.message


def test_a_bad_pack_is_left_out_and_the_good_ones_are_loaded(tmp_path):
    (tmp_path / "good.yaml").write_text(ZHAOTONG, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(
        mutate("  - id: ZT-02", "  - id: ZT-01")[0].replace("cn-530600", "cn-1"), encoding="utf-8"
    )
    loaded = load_packs(tmp_path)
    assert [pack.id for pack in loaded.packs] == ["cn-530600-zhaotong-2017"]
    assert [f.key for f in loaded.findings] == ["obligations[1].id"]


def test_two_files_with_one_id_are_both_left_out(tmp_path):
    (tmp_path / "a.yaml").write_text(ZHAOTONG, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(ZHAOTONG, encoding="utf-8")
    loaded = load_packs(tmp_path)
    assert loaded.packs == ()
    assert [f.key for f in loaded.findings] == ["id", "id"]


def test_an_empty_folder_and_a_missing_one_give_no_packs(tmp_path):
    assert load_packs(tmp_path).packs == load_packs(tmp_path / "none").packs == ()


def one_finding(data: bytes) -> tuple[int, str]:
    pack, findings = parse_pack("pack.yaml", data)
    assert pack is None
    (finding,) = findings
    return finding.line, finding.message_zh


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"", 1, "空的"),
        (b"\n\n# only a comment\n", 1, "空的"),
        (b"schema: 1\nid: [\n", 3, "YAML"),
        (b"a: 1\n b: 2\n", 2, "YAML"),
        (b"a: &x 1\nb: *x\n", 1, "锚点"),
        (b"a: !!python/object/apply:os.system ['true']\n", 1, "标签"),
        (b"a: 1\n---\nb: 2\n", 2, "一份内容"),
        (b"a: 1\na: 2\n", 2, "重复"),
        (b"? [1, 2]\n: 3\n", 1, "键名"),
        (b"a: \xff\xfe\n", 1, "UTF-8"),
        (b"a: 1\nb: \xc3\x28\n", 2, "UTF-8"),
        (b"a: 1\nb: \x00\n", 2, "字符"),
        (b"a: '\x07'\n", 1, "字符"),
    ],
    ids=range(13),
)
def test_what_is_no_document_is_said_with_its_line(data, line, words):
    found_line, sentence = one_finding(data)
    assert (found_line, words in sentence) == (line, True), sentence


def test_a_scalar_or_a_list_is_no_pack():
    for data in (b"42\n", b"- 1\n", b"text\n", b"null\n"):
        pack, findings = parse_pack("pack.yaml", data)
        assert pack is None
        assert findings


def test_a_byte_order_mark_and_windows_line_ends_are_tolerated():
    pack, findings = parse_pack("pack.yaml", b"\xef\xbb\xbf" + ZHAOTONG.replace("\n", "\r\n").encode())
    assert findings == ()
    assert pack is not None
    assert pack.version == load_pack(RULES_DIRECTORY / "cn-530600-zhaotong-2017.yaml").version


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path):
    assert [f.line for f in lint([tmp_path / "missing.yaml"])] == [1]
    assert [f.line for f in lint([tmp_path / "a\0b.yaml"])] == [1]
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    assert [f.line for f in load_packs(tmp_path).findings] == [1, 1]


# -- hostile files: bounded, refused, never a crash ----------------------------------------------------------------


def test_an_alias_bomb_is_refused_at_its_first_anchor():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "锚点" in one_finding(bomb.encode())[1]


@pytest.mark.parametrize("nesting", [b"[" * 50_000, b"{a: " * 20_000, b"- " * 20_000, b"? " * 20_000])
def test_deep_nesting_is_refused(nesting):
    pack, findings = parse_pack("pack.yaml", nesting)
    assert pack is None
    assert len(findings) == 1


def test_nesting_within_the_bound_is_read():
    assert "嵌套" in one_finding(b"a: " + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))[1]


def test_a_huge_file_is_refused_unread():
    assert "KB" in one_finding(b"a: 1\n" + b"#" * MAX_BYTES)[1]


def test_too_many_values_are_refused():
    assert str(MAX_VALUES) in one_finding(b"a: [" + b"1," * (MAX_VALUES + 1) + b"]")[1]


def test_findings_are_bounded():
    data = "".join(f"key{number}: 1\n" for number in range(5_000)).encode()
    _, findings = parse_pack("pack.yaml", data)
    assert len(findings) == MAX_FINDINGS


def test_a_finding_never_repeats_hostile_text():
    data = b'schema: 1\nid: "' + b"\\u202e" * 5 + b"x" * 5_000 + b'"\n"k\\u202e": 1\n'
    _, findings = parse_pack("pack.yaml", data)
    assert all(len(f.message_zh) < 400 and len(f.key) <= 120 for f in findings)
    assert all("\u202e" not in f.message_zh + f.key for f in findings)


def test_numbers_dates_and_booleans_are_not_guessed_from_text():
    """YAML 1.1 would read these as 0o12, 90 minutes, True and a date."""
    text, _ = mutate("    name: 权威信息发布", "    name: 012")
    assert parse_pack("pack.yaml", text.encode())[1] == ()
    text, _ = mutate("    name: 权威信息发布", "    name: 1:30")
    assert parse_pack("pack.yaml", text.encode())[1] == ()
    text, _ = mutate("    name: 权威信息发布", "    name: on")
    assert parse_pack("pack.yaml", text.encode())[1] == ()
