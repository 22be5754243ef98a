"""The command line as an operator meets it: real processes on a data directory of their own."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from huiying.cli import main

ROOT = Path(__file__).parents[2]
HUIYING = [sys.executable, "-P", "-m", "huiying.cli"]
MOBILE, EMAIL, SECRET = "13987654321", "canary@example.gov.cn", "whsec_" + "Q2FuYXJ5" * 4


@dataclass
class Done:
    """A finished call."""

    returncode: int
    stdout: str
    stderr: str


class Installation:
    """A data directory and the calls made on it; every line that was ever printed is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed: list[str] = []
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HUIYING_", "PREFECT_"))},
            "HUIYING_DATA_DIR": str(folder),
            "HUIYING_NODE": "test",
            "HUIYING_PREFECT_ENABLED": "false",
        }

    def call(self, *arguments: str, token: str = "", stdin: str = "") -> Done:
        """One call inside this process, which spares a second of starting; nothing is expected of its exit code."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in [name for name in os.environ if name.startswith(("HUIYING_", "PREFECT_"))]:
                patch.delenv(name)
            for name, value in self._environment(token).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            mask = os.umask(0o022)
            try:
                code = _exit_code(arguments)
            finally:
                os.umask(mask)
        return self._keep(Done(code, out.getvalue(), err.getvalue()))

    def process(self, *arguments: str, token: str = "", stdin: str = "") -> Done:
        """The same as a process of its own."""
        done = subprocess.run(
            [*HUIYING, *arguments],
            env=self._environment(token),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.folder.parent,
        )
        return self._keep(Done(done.returncode, done.stdout, done.stderr))

    def _environment(self, token: str) -> dict[str, str]:
        return {**self.environment, **({"HUIYING_TOKEN": token} if token else {})}

    def _keep(self, done: Done) -> Done:
        self.printed.append(done.stdout + done.stderr)
        return done

    def json(self, *arguments: str, token: str = "", code: int = 0) -> Any:
        """The JSON answer of a call."""
        done = self.call(*arguments, "--json", token=token)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str, token: str = "") -> str:
        """The sentence of a refusal."""
        done = self.call(*arguments, token=token)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def token_of(self, person: str) -> str:
        """A person's own token, through a one-time password."""
        password = self.json("person", "password", person)["password"]
        done = self.call("token", "exchange", "--person", person, "--json", stdin=f"{password}\n")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["token"])


def _exit_code(arguments: tuple[str, ...]) -> int:
    try:
        main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    raise AssertionError("a call ends the process")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An office set up by its operator, entirely through the command line."""
    here = Installation(tmp_path_factory.mktemp("cli") / "data")
    here.json("unit", "edit", "main", "--name", "示例市政务公开办", "--region", "990100")
    here.json("unit", "add", "water", "--name", "示例市水务局", "--parent", "main")
    people = (
        ("zhang", "张一", "值班员", "duty"),
        ("li", "李二", "联络员", "duty"),
        ("wang", "王三", "分管领导", "approver"),
        ("zhao", "赵四", "主要负责人", ""),
        ("sun", "孙六", "督查室", "auditor"),
    )
    for person, name, duty, access in people:
        contact = ("--mobile", MOBILE, "--email", EMAIL) if person == "zhang" else ()
        granted = ("--access", access) if access else ()
        here.json("person", "add", person, "--name", name, "--unit", "main", "--duty", duty, *granted, *contact)
    return here


def test_help_answers_at_once_and_never_loads_prefect(installed: Installation):
    best = 60.0
    for _ in range(5):
        begin = time.monotonic()
        done = installed.process("--help")
        best = min(best, time.monotonic() - begin)
    assert done.returncode == 0
    assert "本系统不得登记涉密信息" in done.stdout
    # Generous: what is watched is that nothing heavy is loaded, which costs seconds.
    assert best < 1.5
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "huiying.cli", "incident", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=installed.environment,
    ).stderr
    for heavy in ("prefect", "sqlalchemy", "fastapi", "apscheduler", "requests", "cryptography"):
        assert not re.search(rf"\| +{heavy}$", loaded, re.MULTILINE), heavy


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nonsense",), "没有命令 nonsense"),
        (("incident", "nonsense"), "没有命令 nonsense"),
        (("incident", "register"), "缺少 --title"),
        (("incident", "show"), "缺少 编号"),
        (("incident", "show", "1", "2"), "多出的参数"),
        (("incident", "show", "1", "--bogus"), "没有选项 --bogus"),
        (("incident", "list", "--limit", "x"), "应为整数"),
        (("incident", "list", "--limit", "0"), "不能小于 1"),
        (("preview", "--severity", "huge"), "“huge”不在可用的取值中"),
    ],
)
def test_wrong_usage_is_explained_in_chinese_with_exit_code_2(
    installed: Installation, arguments: tuple[str, ...], sentence: str
):
    done = installed.call(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stdout == ""


def test_the_first_call_prepares_a_private_data_directory(tmp_path: Path):
    here = Installation(tmp_path / "fresh")
    assert here.process("unit", "list").returncode == 0
    assert stat.S_IMODE(here.folder.stat().st_mode) == 0o700
    for path in here.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    password = (here.folder / "first-password").read_text().splitlines()[0]
    assert len(password) >= 20
    done = here.process(
        "token", "exchange", "--person", "admin", "--password-file", str(here.folder / "first-password")
    )
    assert done.returncode == 0
    assert not (here.folder / "first-password").exists()
    database = (here.folder / "huiying.db").read_bytes()
    assert password.encode() not in database


def test_the_main_path_from_registering_to_a_second_persons_word(installed: Installation):
    zhang, wang = installed.token_of("zhang"), installed.token_of("wang")
    assert installed.json("token", "whoami", token=zhang)["person_id"] == "zhang"
    view = installed.json(
        "incident", "register", "--title", "示例路段积水", "--kind", "emergency", "--severity", "major",
        "--criterion", "对照标准", "--occurred", "2026-01-05T08:00:00+08:00", "--source-of", "occurred=现场报告",
        "--idempotency-key", "k1", token=zhang,
    )  # fmt: skip
    no = view["no"]
    assert view["registered_by"] == "person:zhang"
    assert view["times"][0]["source"] == "现场报告"
    assert {clock["state"] for clock in view["clocks"] if clock["pack"]} == {"breached"}  # 接报时已逾期
    shown = installed.process("incident", "show", no, token=zhang).stdout
    for words in (no, "示例路段积水", "接报时已逾期", "示例市政务公开办", "权威信息发布"):
        assert words in shown
    assert no in installed.call("incident", "list").stdout
    assert "现在" in installed.call("incident", "show", no, "--timeline").stdout

    assert "由另一人复核" in installed.refused("incident", "void", no, "--reason", "旧闻", token=zhang)
    pending = installed.json("request", "list")["requests"]
    request = str(pending[-1]["id"])
    listed = installed.process("request", "list").stdout  # a process that has done nothing else before
    assert "误报撤销" in listed
    assert "申请人的话：旧闻" in listed
    assert "本机命令行不能代替" in installed.refused("request", "approve", request)
    assert "没有此项权限" in installed.refused("request", "approve", request, token=zhang)
    assert installed.json("request", "approve", request, token=wang)["state"] == "voided"


def test_lists_refuse_unknown_words_and_show_what_is_told_first(installed: Installation):
    refusal = installed.refused("incident", "list", "--state", "zzz")
    assert "--state:没有「zzz」这种事项状态。可用：open、registered" in refusal
    assert "--kind" in installed.refused("incident", "list", "--kind", "zzz")
    newest = [row["seq"] for row in installed.json("audit", "list", "--limit", "3")["entries"]]
    oldest = [row["seq"] for row in installed.json("audit", "list", "--limit", "3", "--oldest-first")["entries"]]
    assert newest == sorted(newest, reverse=True)
    assert oldest == [1, 2, 3]
    shown = installed.call("person", "show", "zhang").stdout
    assert "值班员@" in shown
    assert "duty_officer" not in shown
    assert "duty_officer" not in installed.call("duty", "list").stdout


def test_a_refusal_is_a_sentence_on_standard_error_and_json_where_asked(installed: Installation):
    done = installed.call("incident", "show", "2099-0001", "--json")
    assert done.returncode == 1
    assert "没有编号为 2099-0001 的事项" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "not_found"


@pytest.mark.parametrize("text", ["2026-01-05 08:00", "gestern", "2026-13-01T00:00:00+08:00", "0001-01-01T00:00+08:00"])
def test_a_time_without_offset_is_never_guessed(installed: Installation, text: str):
    assert "occurred:" in installed.refused("preview", "--severity", "major", "--occurred", text)


def test_a_refusal_names_no_option_that_the_command_does_not_have(installed: Installation):
    said = installed.refused("person", "add", "chen", "--name", "陈八", "--unit", "main", "--duty", "supervision")
    assert said.startswith("没有「supervision」这种职责")


def test_a_preview_and_working_days_speak_the_stable_words(installed: Installation):
    answer = installed.json(
        "preview", "--pack", "cn-gbf-2016-80", "--severity", "major", "--occurred", "2026-02-15T22:30:00+08:00",
        "--registered", "2026-02-15T22:40:00+08:00",
    )  # fmt: skip
    assert answer["pack"] == "cn-gbf-2016-80"
    due = {clock["rule"]: clock["due_at"] for clock in answer["clocks"]}
    assert due == {
        "authoritative_release": "2026-02-16T03:30:00+08:00",
        "press_conference": "2026-02-16T22:30:00+08:00",
    }
    for clock in answer["clocks"]:
        assert {"rule", "clause", "status", "anchor", "started_at", "due_at", "reminders"} <= set(clock)
    days = installed.json("workdays", "--from", "2026-02-13", "--add", "3")
    assert (days["due_date"], days["provisional"]) == ("2026-02-25", False)


def test_case_03_a_preview_answers_for_a_time_still_to_come(installed: Installation):
    answer = installed.json("preview", "--severity", "major", "--occurred", "2098-12-31T22:00:00+08:00")
    due = {clock["rule"]: clock["due_at"] for clock in answer["clocks"] if clock["binding"]}
    assert due == {
        "authoritative_release": "2099-01-01T03:00:00+08:00",
        "press_conference": "2099-01-01T22:00:00+08:00",
    }
    assert answer["registered_at"] == "2098-12-31T22:00:00+08:00"
    assert {clock["state"] for clock in answer["clocks"]} == {"running"}


def test_shifts_are_imported_whole_or_not_at_all(installed: Installation, tmp_path: Path):
    table = tmp_path / "班表.csv"
    table.write_text(
        "单位,职责,人员,开始,结束\nmain,值班员,zhang,2099/1/5 8:30,2099/1/5 20:30\nmain,值班员,谁,2099/1/5 20:30,2099/1/6 8:30\n",
        encoding="gb18030",
    )
    assert "第 3 行" in installed.refused("shift", "import", str(table))
    table.write_text(table.read_text("gb18030").replace("谁", "li"), encoding="utf-8")
    assert installed.json("shift", "import", str(table))["imported"] == 2
    assert "2099-01-05 08:30" in installed.call("shift", "list").stdout


def test_a_channel_is_set_up_tried_and_tells_no_secret(installed: Installation):
    refusal = installed.refused("channel", "add", "hook", "--kind", "webhook", "--set", "url=http://127.0.0.1/x")
    assert refusal.startswith("--set secret:")
    metadata = ("--set", "url=https://169.254.169.254/latest", "--set", f"secret={SECRET}")
    assert "元数据" in installed.refused("channel", "add", "hook", "--kind", "webhook", *metadata)
    installed.json(
        "channel", "add", "hook", "--kind", "webhook", "--set", "url=https://hook.example.cn/hook/CANARYTOKEN",
        "--set", f"secret={SECRET}", "--set", "per_minute=10",
    )  # fmt: skip
    assert "https://hook.example.cn/…" in installed.call("channel", "list").stdout
    assert installed.json("channel", "test", "inbox", "--person", "zhang")["ok"] is True
    (message, *_) = installed.json("inbox", "--person", "zhang")["messages"]
    assert "测试" in message["subject"]
    installed.json("channel", "edit", "hook", "--disable")


def test_setting_up_a_robot_alone_says_whom_a_breach_does_not_reach(installed: Installation):
    robot = ("--set", "url=https://oapi.dingtalk.com/robot/send?access_token=x", "--set", "secret=SECx")
    done = installed.call("channel", "add", "robot", "--kind", "dingtalk", *robot)
    assert done.returncode == 0
    assert "主要负责人、分管领导、督查室收不到" in done.stderr
    assert "只能改发工作群" in done.stderr
    installed.json("channel", "edit", "robot", "--disable")


def test_a_policy_of_the_own_office_is_taken_in_and_given_up_again(installed: Installation, tmp_path: Path):
    (first, *_) = installed.json("policy", "list")["policies"]
    shipped = ROOT / "config" / "policies" / f"{first['id']}.yaml"
    own = tmp_path / "own.yaml"
    text = shipped.read_text()
    name = re.search(r"^name: (.*)$", text, re.MULTILINE)
    assert name is not None
    own.write_text(text.replace(name.group(0), "name: 本单位自定", 1))
    assert installed.json("policy", "import", str(own))["own"] is True
    shown = {policy["id"]: policy for policy in installed.json("policy", "list")["policies"]}
    assert (shown[first["id"]]["name"], shown[first["id"]]["own"]) == ("本单位自定", True)
    installed.json("policy", "reset", first["id"])
    shown = {policy["id"]: policy for policy in installed.json("policy", "list")["policies"]}
    assert (shown[first["id"]]["hash"], shown[first["id"]]["own"]) == (first["hash"], False)
    own.write_text(text + "\nunknown_key: 1\n")
    assert "unknown_key" in installed.refused("policy", "import", str(own))


def test_every_file_is_linted_with_its_line(installed: Installation, tmp_path: Path):
    assert installed.json("rules", "lint")["ok"] is True
    assert installed.json("calendar", "lint")["ok"] is True
    assert installed.json("policy", "lint")["ok"] is True
    bad = tmp_path / "bad.yaml"
    bad.write_text("id: x\nwrong: 1\n")
    assert re.search(r"bad\.yaml:\d+: ", installed.refused("rules", "lint", str(bad)))


def test_rules_are_explained_with_clause_and_words(installed: Installation):
    assert "国办发〔2016〕80号" in installed.call("rules", "list").stdout
    shown = installed.call("rules", "explain", "cn-gbf-2016-80", "authoritative_release").stdout
    assert "原文：“" in shown
    assert "5 小时" in shown


def test_backup_restore_hold_and_release(installed: Installation, tmp_path: Path):
    made = installed.json("backup", str(tmp_path))
    there = Installation(tmp_path / "restored")
    there.folder.mkdir(mode=0o700)
    for name in ("secret.key", "server.key"):
        (there.folder / name).write_bytes((installed.folder / name).read_bytes())
        (there.folder / name).chmod(0o600)
    assert there.json("restore", made["path"])["unreadable"] == 0
    assert "不是空的" in there.refused("restore", made["path"])
    assert there.json("dispatch", "status")["held"] is True
    assert there.json("person", "show", "zhang", "--reveal")["mobile"] == MOBILE
    assert "其中之一" in there.refused("dispatch", "release")
    there.json("dispatch", "release", "--nothing-sent")
    assert there.json("dispatch", "status")["held"] is False
    there.json("dispatch", "hold", "--reason", "检修")
    assert "检修" in there.call("dispatch", "status").stdout


def test_a_restore_without_its_key_says_so(installed: Installation, tmp_path: Path):
    made = installed.json("backup", str(tmp_path))
    there = Installation(tmp_path / "keyless")
    done = there.call("restore", made["path"])
    assert done.returncode == 0
    assert "secret.key 不是备份时的那一个" in done.stdout
    assert "✗ 密钥" in there.call("doctor").stdout
    assert "（无法解开）" in there.call("person", "list").stdout


def test_the_audit_is_whole_exported_and_anchored(installed: Installation, tmp_path: Path):
    answer = installed.json("audit", "verify")
    assert answer["ok"] is True
    anchor = tmp_path / "anchor.txt"
    anchor.write_text(installed.call("audit", "anchor").stdout)
    assert installed.json("audit", "verify", "--anchor", str(anchor))["ok"] is True
    folder = tmp_path / "export"
    installed.json("audit", "export", str(folder))
    done = subprocess.run(
        [sys.executable, "-I", "verify_audit.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "没有此项权限" in installed.refused("audit", "list", token=installed.token_of("zhang"))


def test_a_drill_plays_two_days_into_one_inbox(installed: Installation):
    script = ROOT / "docs" / "examples" / "reservoir.yaml"
    begin = time.monotonic()
    done = installed.call("drill", str(script), "--to", "li")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin < 30
    assert "【演练】示例水库险情" in done.stdout
    assert "权威信息发布 按时完成" in done.stdout
    assert "未被允许" not in done.stdout
    messages = installed.json("inbox", "--person", "li")["messages"]
    assert len(messages) >= 10
    assert all(message["drill"] and message["subject"].startswith("【演练】") for message in messages)
    assert all(
        row["title"] != "示例水库下游出现管涌，网上有视频传播"
        for row in installed.json("incident", "list")["incidents"]
    )


def test_the_doctor_names_what_has_to_be_done(installed: Installation):
    done = installed.call("doctor")
    assert done.returncode == 1
    for words in ("提醒引擎", "HUIYING_PUBLIC_URL", "✓ 数据库", "项需要处理"):
        assert words in done.stdout


def test_watch_shows_the_clocks_once_where_nobody_looks(installed: Installation):
    done = installed.call("watch")
    assert done.returncode == 0
    assert "时钟" in done.stdout


def test_nothing_printed_ever_tells_a_number_an_address_or_a_secret(installed: Installation):
    """Runs last in this file: everything printed before is looked through."""
    text = "\n".join(installed.printed)
    assert len(text) > 1000
    for canary in (SECRET, "CANARYTOKEN", "Q2FuYXJ5Q2FuYXJ5", EMAIL, MOBILE):
        assert canary not in text
    assert "139****4321" in installed.call("person", "list").stdout
