"""What browsers are served: nothing from elsewhere, nothing newer than the oldest engine, vendored files untouched."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from huiying.web.pages.assets import FOLDER, TYPES

FILES = sorted(p for p in FOLDER.rglob("*") if p.suffix in TYPES)
ADDRESS = re.compile(rb"(?:https?|wss?):[\\/]{2}[^\s\"'`)>]*|(?<=[\"'(])//[a-z][\w.-]*\.[a-z]{2,}")
#: An XML namespace is a name, not an address: a picture of its own needs it and no browser asks for it.
NAMES = {b"http://www.w3.org/2000/svg"}
#: The acknowledge page is apart: its own policy names the hash of its only style.
TEMPLATES = sorted(p for p in (FOLDER.parent / "templates").rglob("*.html") if p.name != "ack.html")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_no_served_byte_names_another_origin(path: Path):
    found = set(ADDRESS.findall(path.read_bytes())) - (NAMES if path.suffix == ".svg" else set())
    assert not found


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.relative_to(FOLDER.parent).as_posix())
def test_templates_keep_to_the_content_security_policy(path: Path):
    text = path.read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|\|\s*safe\b", text, re.IGNORECASE)
    assert not re.search(r"(?:src|href|action)=[\"'](?:https?:)?//", text)


def test_the_vendored_files_are_what_was_published():
    folder = FOLDER / "vendor"
    lines = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert {p.name for p in folder.glob("*.js")} == set(sums)
    for name, wanted in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == wanted, name
        assert name.removesuffix(".min.js").rpartition("-")[2] in (folder / "LICENCE").read_text("utf-8"), name


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".css"], ids=lambda path: path.name)
def test_style_sheets_keep_to_the_oldest_engine(path: Path):
    newer = r":has\(|@layer|@container|oklch|color-mix|\bdvh\b|aspect-ratio|accent-color|subgrid|^\s*&"
    assert not re.search(newer, path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.suffix == ".js" and p.parent == FOLDER], ids=lambda path: path.name
)
def test_scripts_keep_to_the_oldest_engine(path: Path):
    newer = r"\.at\(|hasOwn|structuredClone|randomUUID|\beval\(|new Function|replaceAll\("
    assert not re.search(newer, path.read_text("utf-8"))
