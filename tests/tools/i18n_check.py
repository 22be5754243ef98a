"""Whether English is complete: ``python -m tests.tools.i18n_check`` (``--missing`` lists what is to be translated).

Texts are taken from the templates, from ``_(...)`` in the page modules, from every word of the domain that a page
translates by its Chinese reading, and from all that the sources say to whoever reads the desk (``i18n_sources``).
Nothing may be untranslated, fuzzy or left over, placeholders must agree, and no sentence may be composed of parts that
nobody can translate.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from config.loader import load_packs
from config.policy_loader import load_policies
from huiying.domain import audit_words
from huiying.domain.kinds import Word
from huiying.service import desk, policies, queries, request_facts
from huiying.web.pages.words import CATALOGUE
from tests.tools import i18n_sources

WEB = Path(__file__).resolve().parents[2] / "huiying" / "web"
#: Modules whose words the desk shows by ``_(word.zh)``.
WORDS = ("access", "kinds", "remaining", "signing", "handover", "incident", "strictness")
_METHODS = [("pages/**.py", "python"), ("templates/**.html", "jinja2")]
_OPTIONS = {"templates/**.html": {"trimmed": "true", "silent": "false"}}
_HOLDER = re.compile(r"%\(\w+\)[sd]|%%|\{\w*\}")


def texts() -> dict[str, str]:
    """Every text that may be asked for in English, with one place where it stands."""
    found: dict[str, str] = {}
    for name, line, message, _comments, _context in extract_from_dir(
        WEB, _METHODS, _OPTIONS, keywords={"_": None, "gettext": None, "ngettext": (1, 2), "say": None}
    ):
        for text in message if isinstance(message, tuple) else (message,):
            if text:
                found.setdefault(text, f"{name}:{line}")
    for text, place in (*_words(), *i18n_sources.texts()):
        found.setdefault(text, place)
    return found


def _words() -> Iterator[tuple[str, str]]:
    yield from ((text, "huiying/service/queries.py:spoken") for text in queries.spoken())
    yield from ((text, "huiying/service/request_facts.py:labels") for text in request_facts.LABELS)
    yield from ((text, "huiying/domain/audit_words.py:spoken") for text in audit_words.spoken())
    yield from ((text, "huiying/service/desk.py:messages") for text in desk.MESSAGES_ZH.values())
    yield from ((text, "huiying/service/policies.py:besides") for text in policies.BESIDES_ZH.values())
    yield from _shipped()
    for name in WORDS:
        module = importlib.import_module(f"huiying.domain.{name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Word) and kind is not Word:
                for word in kind:
                    if word.zh:
                        yield word.zh, f"huiying/domain/{name}.py:{kind.__name__}"


def _shipped() -> Iterator[tuple[str, str]]:
    """Names that come with the product: of clocks, with the internal ones that follow them, and of policies."""
    for pack in load_packs().packs:
        for clock in pack.clocks:
            yield clock.name, f"{pack.id}:{clock.rule_id}"
            if clock.limit is not None:
                yield f"{clock.name}（内部行动）", f"{pack.id}:{clock.rule_id}"
    yield from ((policy.name, f"config/policies:{policy.id}") for policy in load_policies().policies)


def findings(catalogue: Catalog, wanted: dict[str, str]) -> Iterator[str]:
    """What is wrong with the catalogue."""
    have = {_id(message): message for message in catalogue if message.id}
    for text, place in sorted(wanted.items(), key=lambda item: item[1]):
        message = have.get(text)
        if message is None or not message.string:
            yield f"{place}: not translated: {text}"
        elif message.fuzzy:
            yield f"{place}: fuzzy: {text}"
        elif sorted(_HOLDER.findall(text)) != sorted(_HOLDER.findall(_string(message.string))):
            yield f"{place}: other placeholders than the original: {text}"
    for text in sorted(have.keys() - wanted.keys()):
        yield f"{CATALOGUE.name}: nobody says this any more: {text}"


def _id(message: object) -> str:
    given = getattr(message, "id", "")
    return given if isinstance(given, str) else str(given[0])


def _string(given: object) -> str:
    return given if isinstance(given, str) else str(given[0])  # type: ignore[index]


def main() -> int:
    """Print what is wrong; 1 when anything is."""
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="en", abort_invalid=True)
    wanted = texts()
    found = [*i18n_sources.findings(), *findings(catalogue, wanted)]
    if "--missing" in sys.argv:
        have = {_id(message) for message in catalogue if message.id}
        for text, place in sorted(wanted.items(), key=lambda item: item[1]):
            if text not in have:
                print(f"{place}\t{text}")
        return 1 if found else 0
    print("\n".join(found) or f"{len(wanted)} texts, all of them in English")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
