"""What a password must be like: length, kinds of characters, nothing that everybody tries first, not the own name."""

from __future__ import annotations

import re
import unicodedata

from huiying.domain.errors import InvalidInput
from huiying.domain.sentences import said

SHORTEST = 10
LONGEST = 128
CLASSES_NEEDED = 3
#: The present password and the four before it may not come again.
REMEMBERED = 5

_CLASSES = (str.islower, str.isupper, str.isdigit)
#: What remains of a common password when digits and signs around it are taken away and look-alikes are put back.
_WEAK_STEMS = frozenset(
    [
        "abc",
        "abcabc",
        "abcd",
        "admin",
        "administrator",
        "adminadmin",
        "asdf",
        "asdfgh",
        "asdfghjkl",
        "beijing",
        "caonima",
        "changeme",
        "china",
        "default",
        "dragon",
        "guanliyuan",
        "guest",
        "hello",
        "huiying",
        "huiyinghuiying",
        "iloveyou",
        "letmein",
        "login",
        "mima",
        "mimamima",
        "monkey",
        "nihao",
        "pass",
        "passw",
        "passwd",
        "password",
        "passwordpassword",
        "passwort",
        "qazwsx",
        "qazwsxedc",
        "qwe",
        "qweasd",
        "qweasdzxc",
        "qwer",
        "qwert",
        "qwerty",
        "qwertyuiop",
        "root",
        "rootroot",
        "secret",
        "shizhengfu",
        "superman",
        "system",
        "test",
        "testtest",
        "tianxia",
        "user",
        "welcome",
        "woaini",
        "woaizhongguo",
        "yuqing",
        "zaqwsx",
        "zaqxsw",
        "zhengfu",
        "zhibanban",
        "zhibanshi",
        "zhongguo",
        "zhonghua",
        "zxc",
        "zxcvbn",
        "zxcvbnm",
    ]
)
_LOOK_ALIKE = str.maketrans({"0": "o", "1": "l", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
)
_RUN = 6
_SAME = re.compile(r"(.)\1{3}")
#: Years, counters and exclamation marks that people hang on to a common word.
_TAIL, _HEAD = re.compile(r"[\d\W_]+$"), re.compile(r"^[\d\W_]+")


def check(password: str, person_id: str, name: str) -> None:
    """Raise ``InvalidInput`` with the first thing that is wrong with a new password."""
    sentence = fault(password, person_id, name)
    if sentence:
        raise InvalidInput("new_password", sentence)


def fault(password: str, person_id: str, name: str) -> str:
    """What is wrong with a new password, as a sentence; empty when nothing is."""
    if not SHORTEST <= len(password) <= LONGEST:
        return said("新密码须为 %(shortest)s 至 %(longest)s 个字符。密码未改动。", shortest=SHORTEST, longest=LONGEST)
    if any(unicodedata.category(character) == "Cc" for character in password):
        return "新密码不能含换行、制表等控制字符。密码未改动。"
    if _classes(password) < CLASSES_NEEDED:
        return "新密码须含大写字母、小写字母、数字、其他字符四类中的至少三类。密码未改动。"
    if _names_person(password, person_id, name):
        return "新密码不能包含本人的编号或姓名。密码未改动。"
    if _is_weak(password):
        return "新密码太常见或太有规律，容易被猜中，请另想一个。密码未改动。"
    return ""


def _classes(password: str) -> int:
    own = sum(any(kind(character) for character in password) for kind in _CLASSES)
    return own + any(not any(kind(character) for kind in _CLASSES) for character in password)


def _names_person(password: str, person_id: str, name: str) -> bool:
    small = password.casefold()
    return any(len(part) >= shortest and part.casefold() in small for part, shortest in ((person_id, 3), (name, 2)))


def _is_weak(password: str) -> bool:
    small = password.casefold()
    if _SAME.search(small) or any(_has_run(small, row) for row in (*_ROWS, *(row[::-1] for row in _ROWS))):
        return True
    core = _TAIL.sub("", small)
    cores = (core, core.lstrip("0123456789"), _HEAD.sub("", core))
    return any(_letters(shape) in _WEAK_STEMS for shape in (small, *(each.translate(_LOOK_ALIKE) for each in cores)))


def _letters(text: str) -> str:
    return "".join(character for character in text if character.isalpha())


def _has_run(text: str, row: str) -> bool:
    return any(row[at : at + _RUN] in text for at in range(len(row) - _RUN + 1))
