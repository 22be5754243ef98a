"""The supervisor against real little processes."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from huiying.supervisor import (
    SECOND_ASKING_SECONDS,
    ChildSpec,
    ChildState,
    RestartPolicy,
    Supervisor,
    next_failure_count,
    next_pause,
)

FAST = RestartPolicy(first_pause=0.05, longest_pause=0.2)


def python(program: str) -> list[str]:
    return [sys.executable, "-S", "-c", textwrap.dedent(program)]


def wait_until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie still has its number but runs no more.
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    return True


class Running:
    """A supervisor in a thread, with everything it said."""

    def __init__(self, specs: Sequence[ChildSpec]) -> None:
        self.lines: list[tuple[str, str]] = []
        self.ready = threading.Event()
        self.supervisor = Supervisor(
            specs, lambda name, line: self.lines.append((name, line)), policy=FAST, on_ready=self.ready.set
        )
        self.thread = threading.Thread(target=self.supervisor.run, kwargs={"handle_signals": False})
        self.thread.start()

    def stop(self) -> float:
        began = time.monotonic()
        self.supervisor.request_stop()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()
        return time.monotonic() - began

    def said(self, name: str) -> list[str]:
        return [line for who, line in list(self.lines) if who == name]

    def status(self, name: str):
        return next(status for status in self.supervisor.statuses() if status.name == name)


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(*specs: ChildSpec) -> Running:
        started.append(Running(specs))
        return started[-1]

    yield start
    for running in started:
        running.stop()


FOREVER = python("import time; print('up', flush=True); time.sleep(600)")
STUBBORN = python("""
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print('up', flush=True)
    time.sleep(600)
""")

GENTLE = python("""
    import signal, sys, time

    def end(*_):
        time.sleep(0.4)
        print('bye', flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    print('up', flush=True)
    time.sleep(600)
""")


# --- the policy -------------------------------------------------------------------------------------------------------


def test_pauses_grow_from_a_fifth_of_a_second_to_five_seconds():
    pauses = [next_pause(RestartPolicy(), failures) for failures in range(1, 9)]
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


def test_a_child_that_fails_for_months_still_gets_five_seconds():
    assert next_pause(RestartPolicy(), 1_000_000) == 5.0


def test_a_child_that_had_settled_starts_again_from_the_first_pause():
    policy = RestartPolicy()
    assert next_failure_count(policy, 7, lived_for=9.99) == 8
    assert next_failure_count(policy, 7, lived_for=10.0) == 1


# --- starting and restarting ------------------------------------------------------------------------------------------


def test_a_child_that_dies_is_started_again_and_the_others_stay(run):
    running = run(
        ChildSpec(name="weak", argv=python("print('once', flush=True); raise SystemExit(3)")),
        ChildSpec(name="strong", argv=FOREVER),
    )
    wait_until(lambda: running.status("weak").starts >= 3)
    assert running.status("weak").last_exit_code == 3
    assert running.status("strong").starts == 1
    assert running.said("weak")[:2] == ["once", "once"]
    assert any("退出码 3" in line for line in running.said("supervisor"))


def test_a_child_killed_from_outside_is_started_again(run):
    running = run(ChildSpec(name="web", argv=FOREVER))
    wait_until(lambda: running.said("web") == ["up"])
    first = running.status("web").pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: running.said("web") == ["up", "up"])
    assert running.status("web").pid != first
    assert any("SIGKILL" in line for line in running.said("supervisor"))


def test_a_program_that_does_not_exist_does_not_end_the_supervisor(run):
    running = run(ChildSpec(name="lost", argv=["no-such-program"]), ChildSpec(name="web", argv=FOREVER))
    wait_until(lambda: running.status("lost").starts >= 2)
    assert running.status("lost").last_exit_code == 127
    assert "no-such-program: No such file or directory" in running.said("lost")
    assert running.status("web").state is ChildState.READY


def test_what_a_dead_child_had_started_is_gone_before_the_child_starts_again(run, tmp_path):
    pids = tmp_path / "pids"
    program = f"""
        import pathlib, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        with pathlib.Path({str(pids)!r}).open("a") as file:
            print(child.pid, file=file)
        time.sleep(600)
    """
    running = run(ChildSpec(name="parent", argv=python(program)))
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"))
    grandchild = int(pids.read_text())
    os.kill(running.status("parent").pid, signal.SIGKILL)
    wait_until(lambda: running.status("parent").starts == 2)
    assert not is_alive(grandchild)


def test_two_children_of_one_name_are_refused():
    with pytest.raises(ValueError, match="share a name"):
        Supervisor([ChildSpec(name="a", argv=FOREVER)] * 2, lambda _name, _line: None)


# --- readiness --------------------------------------------------------------------------------------------------------


def test_the_product_is_ready_when_every_critical_child_is(run, tmp_path):
    door = tmp_path / "open"
    running = run(
        ChildSpec(name="web", argv=FOREVER, ready=door.exists),
        ChildSpec(name="history", argv=FOREVER, ready=lambda: False, critical=False),
    )
    wait_until(lambda: running.status("web").state is ChildState.STARTING)
    assert not running.ready.is_set()
    assert not running.supervisor.is_ready()
    door.touch()
    assert running.ready.wait(5)
    assert running.supervisor.is_ready()
    assert running.status("history").state is ChildState.STARTING


def test_a_probe_that_raises_means_not_yet(run):
    answers = iter([ConnectionRefusedError(), TimeoutError(), None])

    def probe() -> bool:
        answer = next(answers)
        if answer is not None:
            raise answer
        return True

    assert run(ChildSpec(name="web", argv=FOREVER, ready=probe)).ready.wait(5)


# --- output -----------------------------------------------------------------------------------------------------------


def test_output_comes_line_by_line_with_its_childs_name(run):
    program = """
        import sys, time
        print("标题")
        print("to stderr", file=sys.stderr)
        sys.stdout.buffer.write(b"broken \\xff bytes\\n")
        sys.stdout.flush()
        time.sleep(600)
    """
    running = run(ChildSpec(name="web", argv=python(program), env={**os.environ, "PYTHONIOENCODING": "utf-8"}))
    wait_until(lambda: len(running.said("web")) == 3)
    assert running.said("web") == ["标题", "to stderr", "broken \ufffd bytes"]


def test_last_words_come_before_the_news_of_the_end(run):
    running = run(ChildSpec(name="weak", argv=python("print('a\\n' * 500 + 'last words')")))
    wait_until(lambda: running.status("weak").starts >= 2)
    everything = list(running.lines)
    end = next(number for number, (_, line) in enumerate(everything) if "意外退出" in line)
    assert everything[end - 1] == ("weak", "last words")


def test_a_sink_that_fails_does_not_block_the_child(tmp_path):
    done = tmp_path / "done"
    program = f"import pathlib\nfor _ in range(5000): print('x' * 100)\npathlib.Path({str(done)!r}).touch()"

    def broken(_name: str, _line: str) -> None:
        raise OSError("disk full")

    supervisor = Supervisor([ChildSpec(name="chatty", argv=python(program))], broken, policy=FAST)
    thread = threading.Thread(target=supervisor.run, kwargs={"handle_signals": False})
    thread.start()
    wait_until(done.exists)
    supervisor.request_stop()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_children_have_no_terminal_to_wait_for(run):
    running = run(ChildSpec(name="asks", argv=python("import sys; print(repr(sys.stdin.read()), flush=True)")))
    wait_until(lambda: running.said("asks")[:1] == ["''"])


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_a_stop_lets_children_finish_what_they_do(run, tmp_path):
    finished = tmp_path / "finished"
    program = f"""
        import pathlib, signal, sys, time
        def leave(*_):
            time.sleep(0.3)
            pathlib.Path({str(finished)!r}).touch()
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        print("up", flush=True)
        time.sleep(600)
    """
    running = run(ChildSpec(name="web", argv=python(program)))
    wait_until(lambda: running.said("web") == ["up"])
    running.stop()
    assert finished.exists()
    assert running.status("web").last_exit_code == 0


def test_a_child_that_ignores_the_stop_is_killed_after_its_grace(run):
    running = run(ChildSpec(name="stubborn", argv=STUBBORN, stop_grace_seconds=0.5))
    wait_until(lambda: running.said("stubborn") == ["up"])
    pid = running.status("stubborn").pid
    took = running.stop()
    assert 0.4 < took < 3
    assert not is_alive(pid)


def test_no_grace_makes_a_stop_last_longer_than_five_seconds():
    running = Running([ChildSpec(name="stubborn", argv=STUBBORN, stop_grace_seconds=600)])
    wait_until(lambda: running.said("stubborn") == ["up"])
    assert running.stop() < 5.5


def test_asking_twice_kills_at_once(run):
    running = run(ChildSpec(name="stubborn", argv=STUBBORN))
    wait_until(lambda: running.said("stubborn") == ["up"])
    running.supervisor.request_stop()
    time.sleep(SECOND_ASKING_SECONDS + 0.1)
    assert running.stop() < 2


def test_one_signal_that_arrives_twice_is_one_request(run):
    running = run(ChildSpec(name="gentle", argv=GENTLE))
    wait_until(lambda: running.said("gentle") == ["up"])
    running.supervisor.request_stop()
    running.stop()
    assert running.said("gentle") == ["up", "bye"]


def test_a_child_waiting_for_its_restart_is_not_started_by_a_stop(run):
    running = run(ChildSpec(name="weak", argv=python("raise SystemExit(1)")))
    wait_until(lambda: running.status("weak").starts >= 1)
    running.stop()
    starts = running.status("weak").starts
    time.sleep(0.4)
    assert running.status("weak").starts == starts


# --- the supervisor as a process --------------------------------------------------------------------------------------

MAIN = """
import pathlib, sys
from huiying.supervisor import ChildSpec, Supervisor

child = [sys.executable, "-S", "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
Supervisor(
    [ChildSpec(name="one", argv=child), ChildSpec(name="two", argv=child)],
    lambda name, line: print(name, line, flush=True),
).run()
print("supervisor left", flush=True)
"""


@pytest.fixture
def supervisor_process() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    process = subprocess.Popen([sys.executable, "-c", MAIN], stdout=subprocess.PIPE, text=True, encoding="utf-8")
    assert process.stdout is not None
    pids: list[int] = []
    for line in process.stdout:
        name, text = line.split(" ", 1)
        if name in {"one", "two"}:
            pids.append(int(text))
        if len(pids) == 2:
            break
    yield process, pids
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything_in_order(supervisor_process, number):
    process, pids = supervisor_process
    process.send_signal(number)
    assert process.wait(timeout=5.5) == 0
    assert "supervisor left" in process.stdout.read()
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_children_die_with_a_supervisor_that_was_killed(supervisor_process):
    process, pids = supervisor_process
    assert all(is_alive(pid) for pid in pids)
    process.kill()
    process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), seconds=2)
