"""Free text at the door: lengths, NUL and lone surrogates are judged before anything is written."""

from __future__ import annotations

from huiying.domain.errors import InvalidInput
from huiying.domain.sentences import said, term

TITLE_LIMIT = 200
NOTICE_TITLE_LIMIT = 60
BODY_LIMIT = 20_000
NOTE_LIMIT = 500


def checked(field: str, value: str, limit: int, name: str = "", *, required: bool = False) -> str:
    """The text, stripped at its ends; raises ``InvalidInput`` naming the field (Chinese sentence)."""
    label = name or field
    if "\x00" in value:
        raise InvalidInput(
            field, said("%(label)s中含有空字符（NUL），请删除后重新提交。内容未登记。", label=term(label))
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput(
            field,
            said("%(label)s中含有无法保存的字符（不成对的代理项），请删除后重新提交。内容未登记。", label=term(label)),
        ) from None
    text = value.strip()
    if len(text) > limit:
        raise InvalidInput(
            field,
            said(
                "%(label)s超过 %(limit)s 字（现为 %(count)s 字），请缩短后重新提交。内容未登记。",
                label=term(label),
                limit=limit,
                count=len(text),
            ),
        )
    if required and not text:
        raise InvalidInput(field, said("请填写%(label)s。内容未登记。", label=term(label)))
    return text
