"""What a form brought: texts, ticks, instants and one file, read leniently and judged by the use cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from config.document import Finding
from huiying.domain.errors import HuiyingError, InvalidInput
from huiying.domain.plan import SHANGHAI
from huiying.domain.sentences import said, term

LARGEST_UPLOAD = 1024 * 1024
_MOST_VALUES = 200


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form by name; ``given`` fills the same form again after a refusal."""

    values: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A text without blanks around it; empty when it was not sent."""
        return self.values.get(name, "").strip()

    def ticked(self, name: str) -> bool:
        """Whether a box was ticked."""
        return name in self.values

    def number(self, name: str, otherwise: int) -> int:
        """A whole number; empty gives ``otherwise``."""
        text = self.text(name)
        if not text:
            return otherwise
        try:
            return int(text)
        except ValueError:
            raise InvalidInput(name, said("「%(text)s」不是整数，未保存。", text=text[:20])) from None

    def moment(self, name: str) -> datetime | None:
        """An instant as a browser's date field writes it, in Beijing time; None when it was left empty."""
        return local_moment(name, self.text(name))

    def starting(self, prefix: str) -> dict[str, str]:
        """Fields whose name begins so, without that beginning."""
        return {name.removeprefix(prefix): text for name, text in self.values.items() if name.startswith(prefix)}

    def document(self, name: str, otherwise: str) -> tuple[str, bytes]:
        """A document that was sent as a file or typed into ``<name>_text``: its name and its bytes."""
        file, data = self.files.get(name, ("", b""))
        if len(data) > LARGEST_UPLOAD:
            raise InvalidInput(name, "文件超过 1 MB，未读取。")
        if data:
            return file[:120] or otherwise, data
        # A text area writes its line ends as CRLF.
        text = self.values.get(f"{name}_text", "").replace("\r\n", "\n")
        if not text.strip():
            raise InvalidInput(name, "请选择文件或在文本框中粘贴内容。")
        return self.text(f"{name}_name")[:120] or otherwise, text.encode()


async def _read(request: Request) -> Form:
    form = await request.form()
    values: dict[str, str] = {}
    files: dict[str, tuple[str, bytes]] = {}
    for name, value in form.multi_items()[:_MOST_VALUES]:
        if isinstance(value, UploadFile):
            files[name] = (value.filename or "", await value.read(LARGEST_UPLOAD + 1))
            await value.close()
        else:
            values[name] = value
    return Form(values, files)


Typed = Annotated[Form, Depends(_read)]


def local_moment(name: str, text: str) -> datetime | None:
    """``2026-11-22T08:30`` in Beijing time (an offset is respected); None for nothing."""
    if not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(
            name, said("「%(text)s」不是时间，请写成 2026-11-22 08:30。", text=text.strip()[:40])
        ) from None
    if not 1949 <= at.year <= 2199:
        raise InvalidInput(name, said("「%(text)s」的年份不合理，请核对。", text=text.strip()[:40]))
    return at if at.tzinfo is not None else at.replace(tzinfo=SHANGHAI)


def typed_text(data: bytes) -> str:
    """A document as it goes back into the text area after a check; what is no UTF-8 is marked."""
    return data.decode("utf-8-sig", "replace")


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal beside the form it belongs to."""

    message: str
    field: str = ""
    findings: tuple[str, ...] = ()


def fault_of(error: HuiyingError) -> Fault:
    """What a person is shown of a refusal, next to the fields as they were typed."""
    found = error.details.get("findings")
    findings = [_line(one) for one in found] if isinstance(found, Iterable) else []
    rows = [said("第 %(row)s 行：%(message)s", row=row, message=message) for row, message in _rows(error)]
    field = str(error.field) if isinstance(error, InvalidInput) else ""
    return Fault(error.message, field, tuple(findings or rows))


def _line(finding: object) -> str:
    """A finding as a line; one that comes as a sentence, or has one, is left translatable."""
    line = finding.sentence if isinstance(finding, Finding) else finding
    return line if isinstance(line, str) else str(line)


def _rows(error: HuiyingError) -> list[tuple[object, str]]:
    """The rows of a table that were refused, each with its reason."""
    rows = error.details.get("rows")
    return [(row["row"], term(row["message"])) for row in rows] if isinstance(rows, list) else []
