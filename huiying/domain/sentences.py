"""Sentences that are composed with values, in a form that can still be put into another language.

A ``Sentence`` is the finished Chinese text: a log, the JSON API, the command line and the audit record see nothing but
that text. Beside it stand its template (named %-placeholders, as in the catalogue) and its values, from which the desk
makes the same sentence in English. A value is shown as it is, unless it is one of ours: a ``Word``, another sentence,
a ``term`` or something ``listed``. What a person typed is only ever inserted; it is no template and is never
looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Self

from huiying.domain.kinds import Word

Say = Callable[[str], str]


class Recorded(str):
    """A sentence of ours as a record keeps it: Chinese alone, which the desk may recognise by its template."""

    __slots__ = ()


class Sentence(str):
    """A finished Chinese text with what it was made of; without values its template is the text itself, % and all."""

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, object]

    def __new__(cls, template: str, values: Mapping[str, object]) -> Self:
        """Fill in the Chinese reading of every value."""
        made = str.__new__(cls, filled(template, values, str))
        made.template, made.values = template, values
        return made

    def __copy__(self) -> Self:
        """Nothing in it ever changes."""
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        """As above: a text that is copied with its record stays what it is."""
        return self

    def told(self, say: Say) -> str:
        """The same sentence where ``say`` translates templates and words of ours."""
        return filled(say(self.template), self.values, say)


class Listed(Sentence):
    """Several values in a row; the mark between them is a text of the catalogue, too."""

    __slots__ = ()

    def told(self, say: Say) -> str:
        """The values in the other language, with its mark between them."""
        return say(self.template).join(value_told(value, say) for value in self.values.values())


def said(template: str, /, **values: object) -> Sentence:
    """A sentence of ours; the template is a literal, so that the check of the catalogue finds it."""
    return Sentence(template, values)


def term(text: str) -> Sentence:
    """A text of ours as a value: a fixed sentence, the name of a clock or a setting, or a sentence as it stands."""
    return text if isinstance(text, Sentence) else Sentence(text, {})


def listed(values: Iterable[object], between: str = "、") -> Listed:
    """Values in a row: 甲、乙 in Chinese, A, B in English."""
    rows = {str(number): value for number, value in enumerate(values)}
    made = str.__new__(Listed, between.join(value_told(value, str) for value in rows.values()))
    made.template, made.values = between, rows
    return made


def together(*sentences: str) -> str:
    """Sentences of ours one after the other; empty ones do not count."""
    found = [term(sentence) for sentence in sentences if sentence]
    whole = found[0] if found else term("")
    for then in found[1:]:
        whole = said("%(first)s%(then)s", first=whole, then=then)
    return whole


def sentence_in(error: Exception) -> str:
    """What an exception says; ``str(error)`` would leave nothing but the Chinese text."""
    found = error.args[0] if error.args else ""
    return found if isinstance(found, str) else str(error)


def filled(template: str, values: Mapping[str, object], say: Say) -> str:
    """A template with its values; one without values is no template, so that a lone % in it means nothing."""
    return template % {name: value_told(value, say) for name, value in values.items()} if values else template


def value_told(value: object, say: Say) -> str:
    """A value as a reader sees it; only what is marked as ours is translated."""
    if isinstance(value, Sentence):
        return value.told(say)
    if isinstance(value, Word):
        return say(value.zh)
    return say(value) if isinstance(value, Recorded) else str(value)
