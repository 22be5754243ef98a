"""The packs against their source documents and against the table of all 136 time rules."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter

import pytest

from config.loader import RULES_DIRECTORY, lint, load_packs
from huiying.domain.rules import RulePack
from tests.shared import shared_path

LOCAL = [pack for pack in load_packs().packs if pack.source_file]
INCIDENT_KINDS = {"incident", "incident_ref"}
#: The one row that a clock carries although the table calls it vague: shown as an untimed duty (及时介入).
VAGUE_CLOCK_ROW = "DQ-10"


def rows():
    with shared_path("obligations.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("pack", LOCAL, ids=lambda pack: pack.id)
def test_every_quote_stands_verbatim_in_the_source_document(pack: RulePack):
    data = (shared_path("seeds") / pack.source_file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == pack.source_sha256
    quotes = [clock.quote for clock in pack.clocks] + [item.quote for item in pack.obligations]
    assert [quote for quote in quotes if quote.encode() not in data] == []


def test_lint_proves_the_quotes_of_all_packs_with_the_sources_at_hand():
    assert lint([RULES_DIRECTORY], shared_path("seeds")) == []


def test_lint_names_the_line_of_a_quote_that_the_source_does_not_contain(tmp_path):
    text = (RULES_DIRECTORY / "cn-230600-daqing-2016.yaml").read_text(encoding="utf-8")
    wrong = text.replace("quote: 做到及时介入,", "quote: 做到立即介入,")
    path = tmp_path / "pack.yaml"
    path.write_text(wrong, encoding="utf-8")
    line = 1 + wrong[: wrong.index("quote: 做到立即介入,")].count("\n")
    findings = lint([path], shared_path("seeds"))
    assert [(f.line, f.key) for f in findings] == [(line, "incident_clocks[2].quote")]


def test_lint_notices_a_source_document_that_was_changed(tmp_path):
    name = "001_146f044d55cc6c05.txt"
    (tmp_path / name).write_bytes((shared_path("seeds") / name).read_bytes() + b"\n")
    findings = lint([RULES_DIRECTORY / "cn-230600-daqing-2016.yaml"], tmp_path)
    assert [f.key for f in findings] == ["source.sha256"]


def test_all_136_rows_are_represented_15_in_clocks_and_121_as_obligations():
    in_clocks = {row for pack in LOCAL for clock in pack.clocks for row in clock.rows}
    in_obligations = [item.id for pack in LOCAL for item in pack.obligations]
    table = {row["id"]: row for row in rows()}
    assert len(table) == 136
    assert len(in_clocks) == 15
    assert len(in_obligations) == len(set(in_obligations)) == 121
    assert in_clocks | set(in_obligations) == set(table)
    assert {i for i in table if table[i]["kind"] in INCIDENT_KINDS} == in_clocks - {VAGUE_CLOCK_ROW}


@pytest.mark.parametrize("pack", LOCAL, ids=lambda pack: pack.id)
def test_every_obligation_says_what_the_table_says(pack: RulePack):
    table = {row["id"]: row for row in rows()}
    for item in pack.obligations:
        row = table[item.id]
        assert row["seed"] == pack.source_file
        for name in ("clause", "kind", "quote", "anchor", "limit", "unit", "who", "done"):
            assert getattr(item, name) == row[name], f"{item.id}.{name}"


@pytest.mark.parametrize("pack", LOCAL, ids=lambda pack: pack.id)
def test_every_clock_stands_in_the_clause_and_carries_the_figure_of_its_row(pack: RulePack):
    table = {row["id"]: row for row in rows()}
    for clock in pack.clocks:
        for name in clock.rows:
            assert table[name]["clause"] == clock.clause
            if clock.limit is not None and table[name]["kind"] == "incident":
                hours = int(clock.limit.total_seconds() // 3600)
                assert table[name]["limit"].split()[0] == str(hours)


def test_the_table_has_the_kinds_the_packs_were_built_for():
    counts = Counter(row["kind"] for row in rows())
    assert (counts["incident"], counts["workdays"], counts["recurring"], counts["quota"]) == (12, 8, 44, 9)
