"""Keeps the processes of the product running: starts them, restarts them, and takes them all down together.

One child that dies never takes the others with it; it is started again after a pause that grows from 0.2 s to 5 s.
Every child leads a process group of its own, and what is left of a group is killed before its leader is started again.
Should the supervisor itself be killed, the kernel kills the children (`PR_SET_PDEATHSIG`, Linux): an engine that
nobody supervises must not go on sending. That signal is bound to the *thread* that starts the children, so
`Supervisor.run` starts them all and belongs into a thread that lives as long as the process, normally the main one.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from huiying.now import monotonic

Sink = Callable[[str, str], None]
"""Receives a child's name and one line it wrote (without the line end)."""

OWN_NAME = "supervisor"
LONGEST_STOP_SECONDS = 4.5
#: Two signals closer together than this are one request: `timeout` and some service managers signal child and group.
SECOND_ASKING_SECONDS = 0.5
LONGEST_LINE_BYTES = 64 * 1024
PROBE_EVERY_SECONDS = 0.2

# Runs in the child's process, single-threaded, before the child's program: a `preexec_fn` would run Python between fork
# and exec of a process with threads, which may deadlock. Asking for the parent's pid afterwards closes the gap in which
# the supervisor died before the kernel knew what to do about it.
_LAUNCHER = """
import os, sys
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() != int(sys.argv[1]):
    os._exit(125)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    print(f"{sys.argv[2]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)
"""


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """What to start, and what is expected of it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    """The whole environment; `None` hands on the supervisor's own."""
    ready: Callable[[], bool] | None = None
    """Asked again and again in a thread of its own until it says yes; an exception counts as no."""
    critical: bool = True
    """Whether the product counts as ready without it. It is restarted either way."""
    stop_grace_seconds: float = 4.0


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    first_pause: float = 0.2
    factor: float = 2.0
    longest_pause: float = 5.0
    settled_after: float = 10.0
    """A child that lived this long starts again from the first pause."""


def next_failure_count(policy: RestartPolicy, failures: int, lived_for: float) -> int:
    """How many failures in a row this end makes."""
    return 1 if lived_for >= policy.settled_after else failures + 1


def next_pause(policy: RestartPolicy, failures: int) -> float:
    """Seconds to wait before the start that follows the n-th failure in a row (n >= 1)."""
    # The exponent is capped because a child may fail for months: 2 ** 10000 is no float.
    return min(policy.longest_pause, policy.first_pause * policy.factor ** min(failures - 1, 30))


class ChildState(Enum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class ChildStatus:
    name: str
    critical: bool
    state: ChildState = ChildState.WAITING
    pid: int | None = None
    starts: int = 0
    last_exit_code: int | None = None


@dataclass
class _Child:
    spec: ChildSpec
    status: ChildStatus
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_due_at: float | None = 0.0
    kill_due_at: float | None = None
    failures: int = 0
    gone: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Ended:
    child: _Child
    process: subprocess.Popen[bytes]
    exit_code: int


@dataclass(frozen=True)
class _BecameReady:
    child: _Child
    process: subprocess.Popen[bytes]


@dataclass(frozen=True)
class _StopRequested:
    reason: str


_Event = _Ended | _BecameReady | _StopRequested


class Supervisor:
    """Runs children until it is told to stop; `run` returns only then."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        sink: Sink,
        *,
        policy: RestartPolicy | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            raise ValueError(f"children share a name: {names}")
        self._children = [_Child(spec, ChildStatus(name=spec.name, critical=spec.critical)) for spec in specs]
        self._sink = sink
        self._policy = policy or RestartPolicy()
        self._on_ready = on_ready
        self._ready_announced = False
        self._stopping = False
        self._stop_asked_at = 0.0
        # Its put() may interrupt itself, so a signal handler can use it; an Event or a Queue can deadlock there.
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()

    # --- what others may ask, from any thread -------------------------------------------------------------------------

    def statuses(self) -> list[ChildStatus]:
        return [child.status for child in self._children]

    def is_ready(self) -> bool:
        """Every critical child is ready."""
        return all(status.state is ChildState.READY for status in self.statuses() if status.critical)

    def request_stop(self, reason: str = "requested") -> None:
        self._events.put(_StopRequested(reason))

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self, *, handle_signals: bool = True) -> None:
        """Blocks until a stop was requested and every child is gone (at most five seconds later)."""
        with _stop_signals(self.request_stop) if handle_signals else contextlib.nullcontext():
            while True:
                self._start_due()
                if self._stopping:
                    self._kill_overdue()
                    if all(child.process is None for child in self._children):
                        return
                self._handle_next_event()

    def _handle_next_event(self) -> None:
        try:
            event = self._events.get(timeout=self._seconds_to_next_deadline())
        except queue.Empty:
            return
        match event:
            case _StopRequested(reason):
                self._begin_stop(reason)
            case _Ended(child, process, exit_code) if child.process is process:
                self._note_end(child, exit_code)
            case _BecameReady(child, process) if child.process is process:
                self._note_ready(child)
            case _:
                pass  # News of a process that has been replaced meanwhile.

    def _seconds_to_next_deadline(self) -> float | None:
        deadlines = [
            due for child in self._children for due in (child.start_due_at, child.kill_due_at) if due is not None
        ]
        return max(0.0, min(deadlines) - monotonic()) if deadlines else None

    # --- starting -----------------------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        for child in self._children:
            if child.start_due_at is not None and child.start_due_at <= monotonic():
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.start_due_at = None
        child.started_at = monotonic()
        child.gone = threading.Event()
        environment = dict(os.environ if child.spec.env is None else child.spec.env)
        # A line should be seen when it is written, not when a buffer is full.
        environment.setdefault("PYTHONUNBUFFERED", "1")
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *child.spec.argv],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        except OSError as error:  # No memory, no processes or no files left: try again later.
            self._say(f"{child.spec.name} 未能启动：{error.strerror}")
            self._schedule_restart(child, lived_for=0.0)
            return
        child.process = process
        child.status = replace(child.status, state=ChildState.STARTING, pid=process.pid, starts=child.status.starts + 1)
        self._say(f"{child.spec.name} 已启动（进程 {process.pid}）")
        relay = self._in_thread(child, "output", self._relay_output, process)
        self._in_thread(child, "end", self._await_end, process, relay)
        if child.spec.ready is None:
            self._note_ready(child)
        else:
            self._in_thread(child, "probe", self._await_ready, process, child.gone)

    def _in_thread(
        self, child: _Child, purpose: str, target: Callable[..., None], *arguments: object
    ) -> threading.Thread:
        name = f"{child.spec.name}-{purpose}"
        thread = threading.Thread(target=target, args=(child, *arguments), name=name, daemon=True)
        thread.start()
        return thread

    def _relay_output(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is None:
            return
        with process.stdout as stream:
            while line := stream.readline(LONGEST_LINE_BYTES):
                self._write(child.spec.name, line.decode("utf-8", errors="replace").rstrip("\r\n"))

    def _await_end(self, child: _Child, process: subprocess.Popen[bytes], relay: threading.Thread) -> None:
        # Looking without reaping keeps the number taken, so that killing the rest of the group cannot hit a stranger.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        _signal_group(process.pid, signal.SIGKILL)
        exit_code = process.wait()
        child.gone.set()
        # Its last words come before the news of its end; a stray process that still holds the pipe is not waited for.
        relay.join(timeout=1.0)
        self._events.put(_Ended(child, process, exit_code))

    def _await_ready(self, child: _Child, process: subprocess.Popen[bytes], gone: threading.Event) -> None:
        probe = child.spec.ready
        while probe is not None and not gone.is_set():
            # A probe asks over the network a process that is just starting: whatever it raises means "not yet".
            with contextlib.suppress(Exception):
                if probe():
                    self._events.put(_BecameReady(child, process))
                    return
            gone.wait(PROBE_EVERY_SECONDS)

    def _note_ready(self, child: _Child) -> None:
        child.status = replace(child.status, state=ChildState.READY)
        if child.spec.ready is not None:
            self._say(f"{child.spec.name} 已就绪（{monotonic() - child.started_at:.1f} 秒）")
        if not self._ready_announced and self.is_ready():
            self._ready_announced = True
            if self._on_ready is not None:
                self._on_ready()

    # --- ending -------------------------------------------------------------------------------------------------------

    def _note_end(self, child: _Child, exit_code: int) -> None:
        child.process = None
        child.kill_due_at = None
        child.status = replace(child.status, state=ChildState.STOPPED, pid=None, last_exit_code=exit_code)
        if self._stopping:
            self._say(f"{child.spec.name} 已停止（{_describe_exit(exit_code)}）")
        else:
            self._schedule_restart(child, lived_for=monotonic() - child.started_at, exit_code=exit_code)

    def _schedule_restart(self, child: _Child, *, lived_for: float, exit_code: int | None = None) -> None:
        child.failures = next_failure_count(self._policy, child.failures, lived_for)
        pause = next_pause(self._policy, child.failures)
        child.start_due_at = monotonic() + pause
        child.status = replace(child.status, state=ChildState.WAITING)
        if exit_code is not None:
            self._say(f"{child.spec.name} 意外退出（{_describe_exit(exit_code)}），{pause:.1f} 秒后重新启动")

    def _begin_stop(self, reason: str) -> None:
        if self._stopping:
            # Asked twice: whoever asks again does not want to wait.
            if monotonic() - self._stop_asked_at < SECOND_ASKING_SECONDS:
                return
            for child in self._children:
                child.kill_due_at = monotonic() if child.process is not None else None
            return
        self._stopping = True
        self._stop_asked_at = monotonic()
        self._say(f"正在停止（{reason}）")
        for child in self._children:
            child.start_due_at = None
            if child.process is not None:
                child.kill_due_at = monotonic() + min(child.spec.stop_grace_seconds, LONGEST_STOP_SECONDS)
                _signal_group(child.process.pid, signal.SIGTERM)

    def _kill_overdue(self) -> None:
        for child in self._children:
            if child.process is not None and child.kill_due_at is not None and child.kill_due_at <= monotonic():
                child.kill_due_at = None
                self._say(f"{child.spec.name} 未按时停止，强制结束")
                _signal_group(child.process.pid, signal.SIGKILL)

    # --- saying -------------------------------------------------------------------------------------------------------

    def _say(self, sentence: str) -> None:
        self._write(OWN_NAME, sentence)

    def _write(self, name: str, line: str) -> None:
        # A sink that fails must not stop the relay: a child whose pipe is full stands still.
        with contextlib.suppress(Exception):
            self._sink(name, line)


def _describe_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"退出码 {exit_code}"
    try:
        return f"信号 {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"信号 {-exit_code}"


def _signal_group(group: int, number: signal.Signals) -> None:
    # Gone already, or (macOS) only the dead leader is left: nothing to do in either case.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


@contextlib.contextmanager
def _stop_signals(request_stop: Callable[[str], None]) -> Iterator[None]:
    """SIGTERM, Ctrl-C and a closed terminal ask for a stop; under nohup a closed terminal stays ignored."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    previous = {
        number: signal.signal(number, lambda received, _frame: request_stop(signal.Signals(received).name))
        for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
