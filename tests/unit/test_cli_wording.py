"""Help pages are Chinese throughout, on every page there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from huiying.cli import app
from huiying.cli.wording import option_of, type_zh, usage_zh

_ENGLISH = re.compile(
    r"Usage|OPTIONS|COMMAND|ARGS|Options|Arguments|Commands|\[default|\[required|\[env var|Show this|"
    r"<(str|int|float|bool|path|file)\b|\brange\b"
)


def pages(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group of commands, by the words that call it."""
    yield path
    for name, found in getattr(group, "commands", {}).items():
        yield from pages(found, (*path, name))


PAGES = list(pages(typer.main.get_command(app)))


def test_there_are_pages():
    assert len(PAGES) > 60


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_no_page_speaks_english(path: tuple[str, ...]):
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "用法：" in shown.output
    assert not _ENGLISH.search(shown.output), _ENGLISH.search(shown.output)


def test_every_option_says_what_it_is():
    group: Any = typer.main.get_command(app)
    for path in PAGES:
        command = group
        for name in path:
            command = command.commands[name]
        context = command.make_context("huiying", ["--help"], resilient_parsing=True)
        command.format_help(context, context.make_formatter())
        silent = [one.opts for one in command.params if one.opts[0].startswith("--") and not one.help]
        assert silent == [], path


def test_a_group_without_a_command_shows_the_same_page():
    shown = CliRunner().invoke(app, ["incident"])
    assert "用法：" in shown.output
    assert not _ENGLISH.search(shown.output)


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("received_at", "--received"), ("role", ""), ("id", ""), ("times.occurred_at.value", ""),
        ("unit_id", "--unit"), ("first_exposed_at", "--exposed"), ("notice_title", "--notice-title"),
        ("settings.url", "--set url"), ("", ""), ("state", "--state"),
    ],
)  # fmt: skip
def test_a_refusal_names_what_was_typed(field: str, option: str):
    known = {"--unit", "--exposed", "--notice-title", "--set", "--state", "--received"}
    assert option_of(field, known) == option


def test_an_option_is_named_only_where_the_command_has_it():
    assert option_of("received_at", {"--notice-received"}) == "--notice-received"
    assert option_of("unit_id", {"--name"}) == ""


def test_types_and_usage_are_translated_and_choices_stay_as_they_are_typed():
    assert (type_zh("<int range>"), type_zh("<str>"), type_zh("<open|closed>")) == ("<整数>", "<文字>", "<open|closed>")
    assert usage_zh("Usage: huiying [OPTIONS] COMMAND [ARGS]...") == "用法：huiying [选项] 命令 [参数]…"
