"""Whether English is complete: ``python -m tests.tools.i18n_check`` (``--missing`` lists what is to be translated).

Texts are taken from the templates, from ``_(...)`` in the page modules and from every word of the domain that a page
translates by its Chinese reading. Nothing may be untranslated, fuzzy or left over, and placeholders must agree.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from config.loader import load_packs
from config.policy_loader import load_policies
from huiying.domain import errors
from huiying.domain.kinds import Word
from huiying.service import desk, queries
from huiying.web import problems
from huiying.web.pages.words import CATALOGUE

WEB = Path(__file__).resolve().parents[2] / "huiying" / "web"
#: Modules whose words the desk shows by ``_(word.zh)``.
WORDS = ("access", "kinds", "remaining", "signing", "handover", "incident")
_METHODS = [("pages/**.py", "python"), ("templates/**.html", "jinja2")]
_OPTIONS = {"templates/**.html": {"trimmed": "true", "silent": "false"}}
#: A sentence with fewer fixed characters than this could be anything.
_SAYING = 8
_CHINESE = re.compile(r"[\u3000-\u9fff\uff00-\uffef]|^\W$")
#: Its ``say`` prints a line for whoever starts the demo.
_TO_THE_TERMINAL = frozenset({"demo.py"})
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
    for text, place in itertools.chain(_said_at_once(), _refusals()):
        found.setdefault(text, place)
    # Our words that are put together for ``say``.
    for folder in ("service", "domain", "web"):
        for name, line, message, *_rest in extract_from_dir(
            WEB.parent / folder, [("**.py", "python")], keywords={"say": None}
        ):
            if isinstance(message, str) and _CHINESE.search(message) and name not in _TO_THE_TERMINAL:
                found.setdefault(message, f"{folder}/{name}:{line}")
    for text, place in _words():
        found.setdefault(text, place)
    return found


def _said_at_once() -> Iterator[tuple[str, str]]:
    """``words_of(request)("…")``, which has no name that an extractor could look for."""
    for path in sorted((WEB / "pages").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Call):
                maker = node.func.func
                if isinstance(maker, ast.Name) and maker.id == "words_of" and isinstance(node.args[0], ast.Constant):
                    yield str(node.args[0].value), f"pages/{path.name}:{node.lineno}"


def _refusals() -> Iterator[tuple[str, str]]:
    """Whole sentences of refusals, written where they are raised or as a constant of the module."""
    kinds = {
        name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.HuiyingError)
    }
    for path in sorted(path for part in ("service", "domain", "web") for path in (WEB.parent / part).rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if getattr(call.func, "id", "") in kinds:
                for given in call.args:
                    text = constants.get(given.id) if isinstance(given, ast.Name) else getattr(given, "value", None)
                    if isinstance(text, str) and _CHINESE.search(text):
                        yield text, f"{path.relative_to(WEB.parent)}:{call.lineno}"


def _words() -> Iterator[tuple[str, str]]:
    yield from ((text, "huiying/service/queries.py:spoken") for text in queries.spoken())
    yield from ((text, "huiying/service/desk.py:messages") for text in desk.MESSAGES_ZH.values())
    yield from ((text, "huiying/service/queries.py:_tasks") for text in ("判定", "发送"))
    yield from ((text, "huiying/web/problems.py:SENTENCES") for text in problems.SENTENCES.values())
    yield from _names_that_we_ship()
    for name in WORDS:
        module = importlib.import_module(f"huiying.domain.{name}")
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Word) and kind is not Word:
                for word in kind:
                    if word.zh:
                        yield word.zh, f"huiying/domain/{name}.py:{kind.__name__}"


def _names_that_we_ship() -> Iterator[tuple[str, str]]:
    """Names of the clocks and policies that come with the product; an office's own are shown as it wrote them."""
    for pack in load_packs().packs:
        yield from ((rule.name, f"config/rules:{pack.id}") for rule in pack.clocks)
    for policy in load_policies().policies:
        yield policy.name, f"config/policies:{policy.id}"


def literals() -> set[str]:
    """Every text of the services and the domain: a refusal's whole sentence may be translated where it is shown."""
    found = set()
    for path in sorted([*WEB.parent.glob("service/*.py"), *WEB.parent.glob("domain/*.py"), *WEB.glob("**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def composed() -> list[re.Pattern[str]]:
    """The f-strings of the services, the domain and the pages, with anything in place of their values."""
    found = []
    for path in sorted([*WEB.parent.glob("service/*.py"), *WEB.parent.glob("domain/*.py"), *WEB.glob("**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else None for part in node.values]
                if sum(len(part or "") for part in parts) >= _SAYING:
                    found.append(re.compile("".join(".*" if part is None else re.escape(part) for part in parts)))
    return found


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
    shapes = composed()
    for text in sorted(have.keys() - wanted.keys() - literals()):
        if any(shape.fullmatch(text) for shape in shapes):
            continue
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
    found = list(findings(catalogue, wanted))
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
