"""回应系统审计记录独立核验程序 / stand-alone verifier of an exported audit chain.

只需 Python 3.8 或更高版本的标准库，不需要安装本系统：

    python3 verify_audit.py [目录] [--anchor 锚点文件]...

目录内须有 audit.jsonl 与 head.json。锚点文件是另行保存的锚点文本（每行一个），应取自数据库管理员无法改动的地方；
导出目录中的 anchor.txt 只说明导出时的状态，不能代替外部锚点。退出码：0 完好，1 不符，2 用法或文件有误。

Every line of audit.jsonl is one entry:
    payload_hash = SHA-256(payload)
    hash = SHA-256(0x01 || prev_hash || canonical JSON of {action, actor, at, payload_hash, seq, subject})
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

FIELDS = ("seq", "at", "actor", "action", "subject", "payload", "payload_hash", "prev_hash", "hash")
GENESIS = "0" * 64
LONGEST_LINE = 64 * 1024 * 1024
ANCHOR = re.compile(r"^审计锚点 (\S+) 共 ?(\d{1,18}) ?条 链头 ?([0-9a-f]{64})$")

# What this file uses is in Python 3.8: it is copied next to every export and runs where auditors run it.
Entry = Any
Anchors = Any


class Unusable(Exception):
    """A file cannot be read as what it should be."""


class Broken(Exception):
    """The chain is not as it was written."""


def entry_hash(entry: Entry) -> str:
    """What the fields of an entry give."""
    head = {name: entry[name] for name in ("action", "actor", "at", "payload_hash", "seq", "subject")}
    text = json.dumps(head, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(b"\x01" + bytes.fromhex(entry["prev_hash"]) + text.encode("utf-8")).hexdigest()


def read_entry(line: bytes, number: int) -> Entry:
    """One line as an entry."""
    try:
        entry = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Unusable(f"audit.jsonl 第 {number} 行不是有效的 JSON。") from None
    if not isinstance(entry, dict) or sorted(entry) != sorted(FIELDS):
        raise Unusable(f"audit.jsonl 第 {number} 行的字段不对。")
    texts = all(isinstance(entry[name], str) for name in FIELDS if name != "seq")
    if not texts or type(entry["seq"]) is not int:
        raise Unusable(f"audit.jsonl 第 {number} 行的字段类型不对。")
    return entry


def read_head(folder: Path) -> Any:
    """head.json: where the extract begins and where the chain ended when it was exported."""
    try:
        head = json.loads((folder / "head.json").read_text(encoding="utf-8"))
        right = all(type(head[name]) is int for name in ("count", "after"))
        right = right and all(type(head[name]) is str for name in ("hash", "after_hash"))
    except OSError as error:
        raise Unusable(f"无法读取 head.json:{error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        right = False
    if not right:
        raise Unusable("head.json 的内容不对。")
    return head


def read_anchors(paths: list[str]) -> Anchors:
    """All anchor lines of the files: number -> hashes."""
    anchors: Anchors = {}
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            raise Unusable(f"无法读取锚点文件 {path}") from None
        lines = (" ".join(line.split()) for line in text.splitlines())
        found = [ANCHOR.match(line) for line in lines if line.startswith("审计锚点")]
        if not found or None in found:
            raise Unusable(f"锚点文件 {path} 中没有锚点，或有无法识别的锚点行。")
        for match in filter(None, found):
            anchors.setdefault(int(match.group(2)), set()).add(match.group(3))
    return anchors


def compare(anchors: Anchors, seq: int, digest: str) -> int:
    """One place of the chain against the anchors; how many of them it meets."""
    noted = anchors.get(seq, ())
    if any(other != digest for other in noted):
        raise Broken(f"第 {seq} 条与外部锚点不符：链被重建或替换。")
    return len(noted)


def check_entry(entry: Entry, seq: int, previous: str) -> None:
    """One entry behind the one before it."""
    if entry["seq"] > seq:
        raise Broken(f"第 {seq} 条缺失：其后是第 {entry['seq']} 条，有记录被删除或移走。")
    if entry["seq"] < seq:
        raise Broken(f"第 {entry['seq']} 条重复出现或次序颠倒。")
    if entry["prev_hash"] != previous:
        raise Broken(f"第 {seq} 条与上一条的衔接不符：它或它的前一条被改动、插入、删除或调换。")
    try:
        digest = entry_hash(entry)
    except ValueError:
        digest = ""
    if digest != entry["hash"]:
        raise Broken(f"第 {seq} 条被改动：时间、人员、动作、对象或摘要与写入时不符。")
    if hashlib.sha256(entry["payload"].encode("utf-8", "surrogatepass")).hexdigest() != entry["payload_hash"]:
        raise Broken(f"第 {seq} 条的内容（payload）被改动：与写入时的摘要不符。")


def check_lines(lines: io.BufferedReader, head: Any, anchors: Anchors) -> tuple[int, str, int]:
    """Walk the entries; gives the last number, its hash and how many anchors were met."""
    seq, previous = head["after"], head["after_hash"]
    if seq == 0 and previous != GENESIS:
        raise Broken("起点不对：第 1 条之前应为创世值。")
    met = compare(anchors, seq, previous)
    number = 0
    while True:
        line = lines.readline(LONGEST_LINE + 1)
        if not line:
            return seq, previous, met
        number += 1
        if len(line) > LONGEST_LINE:
            raise Unusable(f"audit.jsonl 第 {number} 行过长。")
        entry = read_entry(line, number)
        check_entry(entry, seq + 1, previous)
        seq, previous = entry["seq"], entry["hash"]
        met += compare(anchors, seq, previous)


def check_end(seq: int, digest: str, head: Any, anchors: Anchors) -> None:
    """The last entry against head.json and the anchors."""
    if seq < head["count"]:
        raise Broken(f"尾部被截断：第 {seq + 1} 至 {head['count']} 条缺失。")
    if seq > head["count"]:
        raise Broken(f"第 {head['count'] + 1} 条起多出记录：head.json 只记到第 {head['count']} 条。")
    if digest != head["hash"]:
        raise Broken(f"第 {seq} 条（最后一条）与 head.json 不符。")
    furthest = max(anchors, default=0)
    if furthest > seq:
        raise Broken(f"尾部被截断：外部锚点记有 {furthest} 条，导出的只到第 {seq} 条。")


def verify(folder: Path, paths: list[str]) -> str:
    """The sentence on a chain that is as it was written; raises otherwise."""
    head = read_head(folder)
    anchors = read_anchors(paths)
    try:
        with (folder / "audit.jsonl").open("rb") as lines:
            seq, digest, met = check_lines(lines, head, anchors)
    except OSError as error:
        raise Unusable(f"无法读取 audit.jsonl:{error.strerror}") from None
    check_end(seq, digest, head, anchors)
    text = f"审计记录完好：第 {head['after'] + 1} 至 {seq} 条，链头 {digest}。\n"
    if met:
        return f"{text}与 {met} 个外部锚点相符。"
    return f"{text}未与外部锚点核对：不能排除尾部连同链头被截断，或整条链被重建。"


def main(arguments: list[str]) -> int:
    """Exit code 0, 1 or 2 as said above."""
    parser = argparse.ArgumentParser(description="核验导出的审计记录（只用标准库）")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent, help="导出目录")
    parser.add_argument("--anchor", action="append", default=[], help="另行保存的锚点文件，可重复给出")
    options = parser.parse_args(arguments)
    try:
        code, text = 0, verify(options.folder, options.anchor)
    except Broken as error:
        code, text = 1, f"不符：{error}"
    except Unusable as error:
        code, text = 2, f"无法核验：{error}"
    sys.stdout.buffer.write(f"{text}\n".encode("utf-8", "replace"))  # whatever the console's own encoding
    sys.stdout.buffer.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
