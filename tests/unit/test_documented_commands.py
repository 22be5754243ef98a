"""Every command line in the documents exists, with the options it is shown with; every setting is documented."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from config.settings import Settings
from huiying.cli import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
#: A call in a code block or between backticks.
_CALL = re.compile(r"^(?:HUIYING_\w+=\S+ )*(?:\./dev )?huiying ([a-z][^#`|]*)", re.MULTILINE)
_INLINE = re.compile(r"`(?:\./dev )?huiying ([a-z][^`]*)`")


def calls() -> list[tuple[str, str]]:
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        blocks = "\n".join(re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
        lines = [re.sub(r"^\d+\. ", "", line.strip().removeprefix("$ ")) for line in blocks.splitlines()]
        found += [(path.name, match) for line in lines for match in _CALL.findall(line)]
        found += [(path.name, match) for match in _INLINE.findall(text)]
    return found


def option_names(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize(("document", "line"), calls())
def test_a_documented_command_exists(document: str, line: str):
    command: Any = typer.main.get_command(app)
    words = shlex.split(line.replace("…", "").strip())
    while words and hasattr(command, "commands"):
        name = words.pop(0)
        if name.startswith("-"):
            assert name == "--help"
            return
        if "|" in name:
            return
        assert name in command.commands, f"{document}: huiying {line}"
        command = command.commands[name]
    known = option_names(command) | {"--help"}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"{document}: huiying {line}"


def test_the_documents_call_something():
    assert len(calls()) > 40


@pytest.mark.parametrize("name", ["setting-up.md", "setting-up.zh-CN.md"])
def test_every_setting_is_documented(name: str):
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    for field in Settings.model_fields:
        assert f"`{field.upper()}`" in text, field


_PLACE = re.compile(r"`((?:config|docs|flows|huiying|notifiers|schedules|tests)/[\w./-]*)`|\]\(([\w./-]+)\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_place_a_document_names_exists(document: Path):
    text = document.read_text(encoding="utf-8")
    for in_house, linked in _PLACE.findall(text):
        place = ROOT / in_house if in_house else document.parent / linked
        assert place.exists(), f"{document.name}: {in_house or linked}"
