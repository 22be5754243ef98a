"""What the Python sources say to whoever reads the desk: the texts to translate, and sentences that cannot be.

Every Chinese text of the modules below may be shown on a page, so every one of them is asked for, except where
``ELSEWHERE`` says whom it is for instead.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("huiying/domain", "huiying/service", "huiying/store", "huiying/web", "config", "notifiers")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
_HOLDER = re.compile(r"%\((\w+)\)s")

_API = "the JSON API answers in Chinese"
_CLI = "only the command line says it"
_LETTER = "goes out in a message to an officer, or stands in one"
_RECORD = "is kept in a record"
_READ = "is looked for in a text, not shown"
_ITSELF = "is said in English by its own code"
_TOLD = "is asked for with a prefix, by queries.spoken()"

#: Modules, or names at the top of a module, whose Chinese is not the desk's; each with the reason.
ELSEWHERE: Mapping[str, str] = {
    "config/keys.py": _CLI,
    "config/rules_table.py": "writes docs/rules.md",
    "config/settings.py": _CLI,
    "huiying/domain/audit_check.py:Anchor": "a line to print and keep, the same for every reader",
    "huiying/domain/audit_check.py:_parse_anchor": _CLI,
    "huiying/domain/audit_check.py:parse_anchors": _READ,
    "huiying/domain/audit_words.py": "the audit page gives other readers the action's own name",
    "huiying/domain/clock.py:_action_clocks": _RECORD,
    "huiying/domain/competence.py": "words that are looked for in titles",
    "huiying/domain/compose.py": _LETTER,
    "huiying/domain/duration.py:human_left": _ITSELF,
    "huiying/domain/duration.py:_parts": _ITSELF,
    "huiying/service/ack_links.py": _LETTER,
    "huiying/service/archive.py": _CLI,
    "huiying/service/audit.py:_prepare": _CLI,
    "huiying/service/audit.py:export": _CLI,
    "huiying/service/audit.py:read_anchor_file": _CLI,
    "huiying/service/backup.py": _CLI,
    "huiying/service/changes.py:_call_second_persons": _LETTER,
    "huiying/service/demo.py": _CLI,
    "huiying/service/demo_script.py": _RECORD,
    "huiying/service/drill.py": _CLI,
    "huiying/service/drill_script.py": _CLI,
    "huiying/service/duties.py": _LETTER,
    "huiying/service/fallback.py": _LETTER,
    "huiying/service/fact_words.py:TOLD": "stands before the words that the check takes from queries.spoken()",
    "huiying/service/fact_words.py:_WHAT_ZH": _TOLD,
    "huiying/service/first_run.py": _RECORD,
    "huiying/service/former.py": _CLI,
    "huiying/service/inbox.py:_body": _READ,
    "huiying/service/queries.py:_EVENT_ZH": _TOLD,
    "huiying/service/resets.py:tell": _LETTER,
    "huiying/web/pages/roster.py:_example": "a table as it is read, in Chinese like its head",
    "huiying/service/second_factor.py:ISSUER": "the name that an authenticator shows",
    "huiying/service/secret_rotation.py": _CLI,
    "huiying/service/verify_audit.py": "stands alone in an export",
    "huiying/service/workday_duties.py": _LETTER,
    "huiying/web/ack.py": "the page behind a message's link, Chinese like the message",
    "huiying/web/app.py": _API,
    "huiying/web/bodies.py": _API,
    "huiying/web/callers.py": _API,
    "huiying/web/desk.py": _API,
    "huiying/web/incidents.py": _API,
    "huiying/web/pages/shown_times.py": _ITSELF,
    "huiying/web/probes.py": _API,
    "huiying/web/problems.py:_BY_STATUS": _API,
    "huiying/web/problems.py:_TITLES": _API,
    "huiying/web/problems.py:_http": _API,
    "huiying/web/problems.py:_invalid": _API,
    "notifiers/templates.py": _LETTER,
}
#: What these are given is no text for a reader.
_NO_TEXT = frozenset({"compile", "fullmatch", "startswith", "removeprefix", "summary_action", "_announce_on"})


def texts() -> Iterator[tuple[str, str]]:
    """Every Chinese text that may be shown, with the place where it stands."""
    for path, node in _nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CHINESE.search(node.value):
            yield node.value, f"{path}:{node.lineno}"
        if isinstance(node, ast.Call) and _name_of(node) in {"said", "listed"}:
            # Templates without a Chinese word, and the marks between values.
            given = node.args[0 if _name_of(node) == "said" else 1 :][:1]
            yield from ((text, f"{path}:{node.lineno}") for text in _literals(given))


def findings() -> Iterator[str]:
    """Sentences that were glued together, so that only Chinese readers can read them; templates without a value."""
    for path, node in _nodes():
        yield from (f"{path}:{getattr(node, 'lineno', 0)}: {fault}" for fault in faults_of(node))


def faults_of(node: ast.AST) -> Iterator[str]:
    """What is wrong with one piece of a source."""
    if isinstance(node, ast.JoinedStr) and any(CHINESE.search(text) for text in _literals(node.values)):
        yield f"compose it with said(): {ast.unparse(node)}"
    if isinstance(node, ast.Call) and _name_of(node) == "said":
        yield from _said(node)


def _literals(nodes: Iterable[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _said(call: ast.Call) -> Iterator[str]:
    template = call.args[0] if call.args else None
    if isinstance(template, ast.Name):
        return  # a constant, found where it is given its text
    if not isinstance(template, ast.Constant) or not isinstance(template.value, str):
        yield "said() wants its template written out, or the catalogue is never asked for it"
        return
    names = {keyword.arg for keyword in call.keywords}
    if None not in names and names != set(_HOLDER.findall(template.value)):
        yield f"values and placeholders differ: {template.value}"


def _nodes() -> Iterator[tuple[str, ast.AST]]:
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            path = file.relative_to(ROOT).as_posix()
            if path in ELSEWHERE or "/migrations/" in path:
                continue
            yield from ((path, node) for node in _shown(path, ast.parse(file.read_text("utf-8"))))


def _shown(path: str, module: ast.Module) -> Iterator[ast.AST]:
    for statement in module.body:
        if any(f"{path}:{name}" in ELSEWHERE for name in _names_of(statement)):
            continue
        yield from walked(statement)


def walked(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but docstrings, the parts of an f-string and what is no text."""
    if isinstance(node, ast.Compare) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        return
    if isinstance(node, ast.Call) and _name_of(node) in _NO_TEXT:
        return
    if isinstance(node, ast.Assign) and any(getattr(target, "attr", "") == "announce" for target in node.targets):
        return  # a message to officers
    yield node
    if isinstance(node, ast.JoinedStr):
        inside: list[ast.AST] = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
    else:
        inside = list(ast.iter_child_nodes(node))
    for child in inside:
        yield from walked(child)


def _names_of(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    return []


def _name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
