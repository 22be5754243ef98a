"""Strict reading of the YAML files an office may edit: every value keeps its line, every fault becomes a finding.

The files come from people outside, so reading is bounded (size, depth, number of values) and never builds anything
but text, numbers, booleans, lists and mappings. Anchors, aliases, tags and several documents in one file are refused:
none of our files needs them, and aliases are how a small file becomes a large tree. No bytes whatever raise here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from pathlib import Path
from typing import TypeVar

import yaml

from huiying.domain.errors import BadRulePack
from huiying.domain.iso_duration import parse_duration
from huiying.domain.sentences import Sentence, listed, said, term

MAX_BYTES = 512 * 1024
MAX_DEPTH = 12
MAX_VALUES = 40_000
#: Beyond this a file is not a slip of the pen, and nobody reads on.
MAX_FINDINGS = 200

#: The C parser is some ten times faster; both give the same events.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULLS = frozenset({"", "~", "null"})
_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(r"[+-]?[0-9]{1,15}\.[0-9]{1,15}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)
_MONTH_DAY = re.compile(r"\d{2}-\d{2}", re.ASCII)
T = TypeVar("T")

#: Control characters, lone surrogates, zero-width and direction marks: invisible, and able to disguise a text.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One fault in a file, for the person who edits it."""

    file: str
    line: int
    key: str
    message_zh: str

    @property
    def sentence(self) -> Sentence:
        """``file:line: key: sentence``, which editors understand."""
        key = self.key or said("（全文）")
        return said(
            "%(file)s:%(line)s: %(key)s: %(message)s",
            file=self.file,
            line=self.line,
            key=key,
            message=term(self.message_zh),
        )

    def __str__(self) -> str:
        return str(self.sentence)


_TYPE_NAMES = {
    bool: "true/false",
    int: "整数",
    float: "数字",
    str: "文字",
    list: "列表",
    dict: "键值组",
    type(None): "空值",
}

Content = str | int | float | bool | list["Node"] | dict[str, "Node"] | None


@dataclass(slots=True)
class Node:
    """A value of the file with its line; ``key_line`` is the line of its key in a mapping."""

    line: int
    content: Content
    key_line: int = 0

    @property
    def at(self) -> int:
        """The line a reader looks for: that of the key where there is one."""
        return self.key_line or self.line

    @property
    def kind_zh(self) -> str:
        """What the value is, in words."""
        return _TYPE_NAMES[type(self.content)]


class Unreadable(Exception):
    """The file is no document at all; carries the line and the sentence."""

    def __init__(self, line: int, message_zh: str) -> None:
        super().__init__(message_zh)
        self.line = line
        self.message_zh = message_zh


def refusal(what: str, findings: Sequence[Finding]) -> BadRulePack:
    """The error for a file that is refused as a whole."""
    first = findings[0]
    return BadRulePack(
        said(
            "%(what)s未被采用：%(file)s 第%(line)s行 %(message)s（共%(count)s处问题）。",
            what=term(what),
            file=first.file,
            line=first.line,
            message=term(first.message_zh),
            count=len(findings),
        ),
        findings=tuple(findings),
    )


def read_bytes(path: Path) -> bytes:
    """Read a file, never more than is allowed; ``Unreadable`` when it cannot be read."""
    try:
        # Opening a pipe would wait for somebody to write into it.
        if path.exists() and not path.is_file():
            raise Unreadable(1, "这不是一个文件。")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise Unreadable(
            1, said("文件无法读取（%(error)s）。", error=getattr(error, "strerror", None) or type(error).__name__)
        ) from error


def parse_yaml(data: bytes) -> Node:
    """Read one YAML document into nodes, or raise ``Unreadable``."""
    text = decode(data)
    try:
        return _Builder().build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise Unreadable(line, "此处不是合法的 YAML:请检查缩进、冒号后的空格和引号是否成对。") from error
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise Unreadable(line, "文件中有 YAML 不允许的字符。") from error


def decode(data: bytes) -> str:
    """UTF-8 (a byte order mark is tolerated) within the allowed size, or ``Unreadable``."""
    if len(data) > MAX_BYTES:
        raise Unreadable(1, said("文件超过 %(size)s KB，不予读取。", size=MAX_BYTES // 1024))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, "文件不是 UTF-8 编码，请另存为 UTF-8 后重试。") from error


@dataclass(slots=True)
class _Frame:
    """A collection being built: a list, or a mapping with the key that waits for its value."""

    node: Node
    key: str | None = None
    key_line: int = 0


class _Builder:
    """Builds nodes from parser events with a stack of its own, so depth cannot exhaust Python's."""

    def __init__(self) -> None:
        self._stack: list[_Frame] = []
        self._root: Node | None = None
        self._values = 0

    def build(self, text: str) -> Node:
        for event in yaml.parse(text, Loader=_LOADER):
            self._accept(event)
        if self._root is None:
            raise Unreadable(1, "文件是空的。")
        return self._root

    def _accept(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Unreadable(line, "不允许使用 YAML 锚点和引用（&、*），请把内容写全。")
        if isinstance(event, yaml.DocumentStartEvent) and self._root is not None:
            raise Unreadable(line, "一个文件只能有一份内容，不能用 --- 分成几份。")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            self._start(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()

    def _start(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None:
            raise Unreadable(line, "不允许使用 YAML 标签（!）。")
        self._values += 1
        if self._values > MAX_VALUES:
            raise Unreadable(line, said("文件内容超过 %(most)s 项，不予读取。", most=MAX_VALUES))
        if isinstance(event, yaml.ScalarEvent):
            content: Content = event.value if event.style else _plain(event.value)
            self._place(Node(line, content), event.value)
            return
        if len(self._stack) >= MAX_DEPTH:
            raise Unreadable(line, said("嵌套超过 %(most)s 层，不予读取。", most=MAX_DEPTH))
        node = Node(line, {} if isinstance(event, yaml.MappingStartEvent) else [])
        self._place(node, None)
        self._stack.append(_Frame(node))

    def _place(self, node: Node, key_text: str | None) -> None:
        if not self._stack:
            self._root = node
            return
        frame = self._stack[-1]
        content = frame.node.content
        if isinstance(content, list):
            content.append(node)
        elif isinstance(content, dict):
            self._place_in_mapping(frame, content, node, key_text)

    def _place_in_mapping(self, frame: _Frame, content: dict[str, Node], node: Node, key_text: str | None) -> None:
        if frame.key is not None:
            node.key_line = frame.key_line
            content[frame.key] = node
            frame.key = None
            return
        if key_text is None:
            raise Unreadable(node.line, "键名必须是文字。")
        if key_text in content:
            raise Unreadable(node.line, said("键 %(key)s 重复出现。", key=printable(key_text)))
        frame.key, frame.key_line = key_text, node.line


def _plain(text: str) -> Content:
    """What an unquoted scalar means: YAML's core schema, without the octal, sexagesimal and yes/no surprises."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def printable(text: str) -> str:
    """A text from the file as it may stand in a finding: visible and short."""
    shown = _INVISIBLE.sub("·", text)
    return shown if len(shown) <= 40 else shown[:39] + "…"


@dataclass(slots=True)
class Form:
    """Collects the findings of one file while its values are read."""

    file: str
    findings: list[Finding] = field(default_factory=list)

    def fail(self, line: int, key: str, message_zh: str) -> None:
        """Keep a fault."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(self.file, line, printable_key(key), message_zh))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn an unreadable file into a finding."""
        try:
            yield
        except Unreadable as error:
            self.fail(error.line, "", error.message_zh)

    def section(self, node: Node, key: str = "") -> Section:
        """Read a node as a mapping; anything else is a finding and reads as empty."""
        if isinstance(node.content, dict):
            return Section(self, key, node, node.content)
        self.fail(node.at, key, said("应为键值组，现为%(kind)s。", kind=term(node.kind_zh)))
        return Section(self, key, node, {}, broken=True)


def printable_key(key: str) -> str:
    """A key path, visible and of bounded length."""
    return _INVISIBLE.sub("·", key)[:120]


@dataclass(slots=True)
class Section:
    """A mapping of the file. Every getter records a finding when the value is not as it must be, and then returns a
    harmless default; the caller throws everything away when there are findings.
    """

    form: Form
    path: str
    node: Node
    values: dict[str, Node]
    broken: bool = False

    def key(self, name: str) -> str:
        """The full path of a key."""
        return f"{self.path}.{name}" if self.path else name

    def fail(self, name: str, message_zh: str) -> None:
        """Keep a fault of this key (or of the whole section where the key is absent)."""
        node = self.values.get(name)
        line = self.node.at if node is None else node.at
        self.form.fail(line, self.key(name) if name else self.path, message_zh)

    def only(self, *names: str) -> None:
        """Refuse keys that nobody reads: a misspelt key would silently lose a rule."""
        for name, node in self.values.items():
            if name not in names:
                self.form.fail(
                    node.at,
                    self.key(name),
                    said("不认识的键 %(name)s；可用的键：%(names)s。", name=printable(name), names=listed(names)),
                )

    def has(self, name: str) -> bool:
        """Tell whether the key is there with a value."""
        node = self.values.get(name)
        return node is not None and node.content is not None

    def line(self, name: str) -> int:
        """The line of a key, or of the section."""
        node = self.values.get(name)
        return self.node.at if node is None else node.at

    def _get(self, name: str, *, required: bool) -> Node | None:
        if self.has(name):
            return self.values[name]
        if required and not self.broken:
            self.fail(name, "缺少此项。" if name not in self.values else "此项不能为空。")
        return None

    def text(self, name: str, *, required: bool = True, pattern: str = "", hint: str = "", longest: int = 400) -> str:
        """A text; ``pattern`` must match in full."""
        node = self._get(name, required=required)
        return "" if node is None else self._text(node, self.key(name), pattern, hint, longest)

    def _text(self, node: Node, key: str, pattern: str, hint: str, longest: int) -> str:
        content = node.content
        if not isinstance(content, str):
            quote = ",请加引号" if isinstance(content, (int, float)) else ""
            self.form.fail(
                node.at, key, said("应为文字，现为%(kind)s%(quote)s。", kind=term(node.kind_zh), quote=quote)
            )
        elif _INVISIBLE.search(content):
            self.form.fail(node.at, key, "含有换行、控制字符或不可见字符。")
        elif not content.strip() or content != content.strip():
            self.form.fail(node.at, key, "不能为空白，首尾也不能有空格。")
        elif len(content) > longest:
            self.form.fail(node.at, key, said("超过 %(longest)s 字。", longest=longest))
        elif pattern and not re.fullmatch(pattern, content, re.ASCII):
            self.form.fail(
                node.at, key, said("“%(content)s”格式不对：%(hint)s。", content=printable(content), hint=term(hint))
            )
        else:
            return content
        return ""

    def choice(self, name: str, allowed: Collection[str], *, required: bool = True, default: str = "") -> str:
        """One of the allowed words."""
        node = self._get(name, required=required)
        return default if node is None else self._choice(node, self.key(name), allowed, default)

    def _choice(self, node: Node, key: str, allowed: Collection[str], default: str) -> str:
        content = node.content
        if isinstance(content, str) and content in allowed:
            return content
        shown = printable(content) if isinstance(content, str) else node.kind_zh
        self.form.fail(
            node.at, key, said("“%(text)s”不在允许的取值中：%(allowed)s。", text=shown, allowed=listed(sorted(allowed)))
        )
        return default

    def flag(self, name: str, *, required: bool = True, default: bool = False) -> bool:
        """true or false."""
        node = self._get(name, required=required)
        if node is None:
            return default
        if isinstance(node.content, bool):
            return node.content
        self.form.fail(node.at, self.key(name), said("应为 true 或 false，现为%(kind)s。", kind=term(node.kind_zh)))
        return default

    def integer(self, name: str, lowest: int, highest: int, *, required: bool = True, default: int = 0) -> int:
        """A whole number within bounds."""
        node = self._get(name, required=required)
        if node is None:
            return default
        content = node.content
        if isinstance(content, int) and not isinstance(content, bool) and lowest <= content <= highest:
            return content
        self.form.fail(
            node.at, self.key(name), said("应为 %(lowest)s 到 %(highest)s 之间的整数。", lowest=lowest, highest=highest)
        )
        return default or lowest

    def share(self, name: str) -> float:
        """A number greater than 0 and smaller than 1."""
        node = self._get(name, required=True)
        if node is None:
            return 0.5
        content = node.content
        if isinstance(content, float) and 0 < content < 1:
            return content
        self.form.fail(node.at, self.key(name), "应为 0 与 1 之间的小数，例如 0.5。")
        return 0.5

    def day(self, name: str, *, required: bool = True) -> date | None:
        """A calendar day, YYYY-MM-DD."""
        node = self._get(name, required=required)
        return None if node is None else self._day(node, self.key(name))

    def _day(self, node: Node, key: str) -> date | None:
        content = node.content
        if isinstance(content, str) and _DATE.fullmatch(content):
            try:
                value = date.fromisoformat(content)
            except ValueError:
                value = None
            # Before 1949 there is nothing to comply with; far years are typing errors.
            if value is not None and 1949 <= value.year <= 2199:
                return value
        self.form.fail(node.at, key, "应为存在的日期，写成 2017-05-27。")
        return None

    def days(self, name: str, *, required: bool = True) -> tuple[date, ...]:
        """A list of calendar days, without repetition."""
        read = (self._day(node, key) for node, key in self._items(name, required=required))
        return self._distinct(name, tuple(day for day in read if day is not None))

    def month_day(self, name: str, *, required: bool = True) -> str:
        """A day of every year, MM-DD; 29 February is refused because most years lack it."""
        node = self._get(name, required=required)
        if node is None:
            return ""
        content = node.content
        if isinstance(content, str) and _MONTH_DAY.fullmatch(content):
            try:
                date.fromisoformat(f"2001-{content}")
            except ValueError:
                pass
            else:
                return content
        self.form.fail(node.at, self.key(name), "应为每年都有的日期，写成 '03-31'。")
        return ""

    def duration(self, name: str, *, required: bool = True) -> timedelta | None:
        """A duration in natural hours, minutes and seconds."""
        node = self._get(name, required=required)
        if node is None:
            return None
        value = parse_duration(node.content) if isinstance(node.content, str) else None
        if value is None:
            self.form.fail(node.at, self.key(name), "时长格式不对：写成 PT5H、PT30M、PT1H30M，大于零且不超过一年。")
        return value

    def wall_times(self, name: str) -> tuple[time, ...]:
        """A list of wall-clock times HH:MM."""
        read = (self._wall_time(node, key) for node, key in self._items(name, required=True))
        return self._distinct(name, tuple(at for at in read if at is not None))

    def wall_time(self, name: str) -> time | None:
        """A wall-clock time HH:MM."""
        node = self._get(name, required=True)
        return None if node is None else self._wall_time(node, self.key(name))

    def _wall_time(self, node: Node, key: str) -> time | None:
        if isinstance(node.content, str) and _TIME.fullmatch(node.content):
            return time.fromisoformat(node.content)
        self.form.fail(node.at, key, "应为时刻，写成 '09:00'（要加引号）。")
        return None

    def texts(self, name: str, *, required: bool = True, pattern: str = "", hint: str = "") -> tuple[str, ...]:
        """A list of texts, without repetition."""
        read = (self._text(node, key, pattern, hint, 400) for node, key in self._items(name, required=required))
        return self._distinct(name, tuple(text for text in read if text))

    def choices(self, name: str, allowed: Collection[str], *, required: bool = True) -> tuple[str, ...]:
        """A list of allowed words, without repetition; a required list is not empty."""
        read = (self._choice(node, key, allowed, "") for node, key in self._items(name, required=required))
        return self._distinct(name, tuple(word for word in read if word))

    def sections(self, name: str, *, required: bool = True) -> list[Section]:
        """A list of mappings."""
        return [self.form.section(node, key) for node, key in self._items(name, required=required)]

    def section(self, name: str, *, required: bool = True) -> Section:
        """A mapping; an absent optional one reads as empty."""
        node = self._get(name, required=required)
        if node is None:
            return Section(self.form, self.key(name), Node(self.node.at, {}), {}, broken=True)
        return self.form.section(node, self.key(name))

    def _items(self, name: str, *, required: bool) -> list[tuple[Node, str]]:
        node = self._get(name, required=required)
        if node is None:
            return []
        if not isinstance(node.content, list):
            self.fail(name, said("应为列表，现为%(kind)s。", kind=term(node.kind_zh)))
            return []
        if required and not node.content:
            self.fail(name, "列表不能为空。")
        return [(item, f"{self.key(name)}[{number}]") for number, item in enumerate(node.content)]

    def _distinct(self, name: str, values: tuple[T, ...]) -> tuple[T, ...]:
        if len(set(values)) != len(values):
            self.fail(name, "列表中有重复的项。")
        return values


def yaml_files(directory: Path) -> list[Path]:
    """The YAML files of a directory in a fixed order."""
    return sorted(directory.glob("*.yaml"))


def read_document(file: str, data: bytes, build: Callable[[Form, Section], T]) -> tuple[T | None, list[Finding]]:
    """Read one document with ``build``; the result is there only when nothing at all was found."""
    form = Form(file)
    built: T | None = None
    with form.reading():
        built = build(form, form.section(parse_yaml(data)))
    return (None if form.findings else built), sorted(set(form.findings))


def read_path(path: Path, build: Callable[[Form, Section], T]) -> tuple[T | None, list[Finding]]:
    """Read one file with ``build``; see ``read_document``."""
    try:
        data = read_bytes(path)
    except Unreadable as error:
        return None, [Finding(str(path), error.line, "", error.message_zh)]
    return read_document(str(path), data, build)


def expand(paths: Iterable[Path]) -> list[Path]:
    """The files meant by a mixture of files and directories."""
    files: list[Path] = []
    for path in map(Path, paths):
        files += yaml_files(path) if path.is_dir() else [path]
    return files
