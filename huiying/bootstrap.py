"""The only wiring: from settings to a working outfit, and the processes of the product.

``build`` prepares a data directory at its first use: directory 0700, key files 0600, schema, rules, and what an empty
system needs to be entered. Children of ``serve`` find all of that done. Nothing here imports Prefect: only the runner
does, in a process of its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import queue
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from config.settings import Settings
from huiying.domain.errors import Refused
from huiying.now import monotonic, utc_now
from huiying.service.services import Services

if TYPE_CHECKING:
    from huiying.domain.message import Notice
    from huiying.service.duties import Recurring
    from huiying.store.db import Store
    from huiying.supervisor import ChildSpec
    from notifiers.contract import ChannelConfig, Notifier

WARNING = "本系统不得登记涉密信息。"
SYNCED = "rules_synced"
_PROBE_SECONDS = 1.0
_TROUBLE = re.compile(r"(?i)error|warning|critical|exception|traceback")
_LOCK_FILE = "serve.lock"
_ENGINE_STOPS_IN = 3.0


# -- the outfit --------------------------------------------------------------------------------------------------------


def build(settings: Settings, *, prepare: bool = True, upgrade_schema: bool = False) -> Services:
    """An outfit on the settings' data directory and database; the first one there prepares both.

    An older schema is brought up to date by ``serve`` alone: a command must not change it under a running system.
    """
    from config.keys import SEAL_KEY, server_key
    from config.sealed import CannotOpen, Sealer

    store = open_store(settings)
    try:
        sealer = Sealer(settings.data_dir / SEAL_KEY)
    except CannotOpen as error:
        raise Refused(str(error)) from None
    services = Services(store, settings, sealer, server_key(settings.data_dir), _notifier_maker(store, settings))
    if prepare:
        _prepare(services, upgrade_schema=upgrade_schema)
    else:
        from huiying.store.schema import check_version

        check_version(store.engine)
    return services


def open_store(settings: Settings) -> Store:
    """The database as it is, for who brings its content along (``huiying restore``)."""
    from config.keys import prepare_folder
    from huiying.store.db import Store, open_engine

    prepare_folder(settings.data_dir)
    # One connection for each sender thread and a few for the rest: nobody queues for one while holding a lease.
    return Store(open_engine(settings.store_url, pool_size=settings.sender_threads + 4), utc_now)


def _prepare(services: Services, *, upgrade_schema: bool) -> None:
    from huiying.service.former import keep_former
    from huiying.store.schema import check_version, schema_version, upgrade
    from huiying.store.tables import SCHEMA_VERSION

    folder, engine = services.settings.data_dir, services.store.engine
    with _alone(folder / ".prepare.lock"):
        found = schema_version(engine)
        if upgrade_schema or found == 0:
            if 0 < found < SCHEMA_VERSION:
                keep_former(services.store, folder, found)
            upgrade(engine)
        else:
            check_version(engine)
        _close_database_file(services.settings)
        sync_rules(services)
        if _is_empty(services):
            _furnish(services)


def _is_empty(services: Services) -> bool:
    from huiying.store import tables as t

    with services.store.reading() as tx:
        return tx.one(t.unit.select().limit(1)) is None


def _furnish(services: Services) -> None:
    from config.keys import write_private
    from huiying.service.first_run import PASSWORD_FILE, seed

    password = seed(services)
    if password is not None:
        write_private(services.settings.data_dir / PASSWORD_FILE, f"{password}\n")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the file, whatever happens to the process."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _close_database_file(settings: Settings) -> None:
    """SQLite makes its files with the process's umask; what lies in them is nobody else's business."""
    for path in settings.data_dir.glob("huiying.db*"):
        path.chmod(0o600)


def sync_rules(services: Services) -> list[str]:
    """Take rule packs, policies and calendars into the store when their files have changed; gives what was refused."""
    import sqlalchemy as sa

    from huiying.store import tables as t

    print_of = _fingerprint(services.settings.rules_dir)
    with services.store.reading() as tx:
        known = tx.value(sa.select(t.setting.c.value).where(t.setting.c.key == SYNCED)) or {}
    if known.get("fingerprint") == print_of:
        return list(known["findings"])
    from huiying.service.policies import restore_own
    from huiying.service.rulebook import sync

    findings = [str(finding) for finding in sync(services, services.settings.rules_dir)]
    restore_own(services)
    value = {"fingerprint": print_of, "findings": findings}
    with services.store.transaction("system:sync") as tx:
        tx.run(t.setting.delete().where(t.setting.c.key == SYNCED))
        tx.run(t.setting.insert().values(key=SYNCED, value=value, updated_at=tx.now))
    return findings


def _fingerprint(extra: Path | None) -> str:
    """A hash over every file that ``sync`` reads and over the code that reads them."""
    import config

    folder = Path(config.__file__).parent
    files = [*folder.glob("*.py"), *folder.glob("rules/*"), *folder.glob("policies/*"), *folder.glob("calendars/*")]
    files += sorted(extra.glob("*")) if extra is not None and extra.is_dir() else []
    digest = hashlib.sha256()
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.name}:{path.stat().st_size}:".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _notifier_maker(store: Store, settings: Settings) -> Callable[[ChannelConfig], Notifier]:
    def make(config: ChannelConfig) -> Notifier:
        from notifiers import registry

        outfit = registry.Services(
            store_message=_store_message(store),
            threads=settings.sender_threads,
            allow_loopback=settings.allow_loopback_channels,
        )
        return registry.build(config, outfit)

    return make


def _store_message(store: Store) -> Callable[[str, Notice, str], None]:
    """How a test message reaches an inbox; messages of the outbox are written together with their outcome."""

    def keep(person_id: str, notice: Notice, text: str) -> None:
        from huiying.store import tables as t
        from notifiers.templates import title_of

        with store.transaction("system:inbox") as tx:
            row = {"notice_no": notice.notice_no, "person_id": person_id, "subject": title_of(notice)[:200]}
            tx.run(t.inbox_message.insert().values(**row, text=text, created_at=tx.now, drill=notice.drill))

    return keep


# -- the processes -----------------------------------------------------------------------------------------------------


def run_web(settings: Settings) -> None:
    """The JSON API and the acknowledge page, until SIGTERM."""
    import uvicorn

    from config.logging import configure_logging
    from huiying.service.demo import refuse_mismatch
    from huiying.web.app import create_app

    configure_logging(settings.log_level)
    services = build(settings, prepare=False)
    refuse_mismatch(services)
    app = create_app(services)
    # The access log is the application's own: uvicorn's would write the secret of an acknowledge link.
    server = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=32 * 1024,
    )

    class WebServer(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # A page's live channel never ends by itself: uvicorn would wait for it until its patience is over.
            app.state.live.close()
            super().handle_exit(sig, frame)

    WebServer(server).run()


def run_engine(settings: Settings) -> None:
    """Ticker and delivery, until SIGTERM; never imports Prefect."""
    from config.logging import configure_logging
    from huiying.service.duties import recurring
    from huiying.service.engine import Engine, calm_collector
    from huiying.service.running import note_running
    from schedules.ticker import Ticker

    ends = _end_of_process()  # first, so that a stop during a slow start is an orderly one
    configure_logging(settings.log_level)
    services = build(settings, prepare=False)
    calm_collector()
    note_running(services)
    engine, duties = Engine(services), recurring(services)
    ticker = Ticker(engine.tick, duties=duties, on_step=engine.clock_stepped)
    engine.start()
    ticker.start()
    for duty in duties:
        _catch_up(duty)
    ends.get()
    ticker.stop()
    engine.stop(_ENGINE_STOPS_IN)
    services.store.close()


def _catch_up(duty: Recurring) -> None:
    """Do what fell due while nobody was running; the ticker does it the next time."""
    from loguru import logger

    try:
        duty.run()
    except Exception:  # noqa: BLE001 - a brief that cannot be written must not keep reminders from leaving
        logger.exception("the duty {} failed", duty.name)


def run_runner(settings: Settings) -> None:
    """The flows in Prefect, until SIGTERM; the environment names the server (``flows.prefect_server``)."""
    from config.logging import configure_logging
    from flows import runner

    configure_logging(settings.log_level)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would tell of every question to Prefect
    runner.main(build(settings, prepare=False))


def _end_of_process() -> queue.SimpleQueue[int]:
    """Gets an item when the process is asked to end; a handler may put into it, whatever the main thread is doing."""
    ends: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: ends.put(received))
    return ends


# -- all of them together ----------------------------------------------------------------------------------------------


def serve(settings: Settings, say: Callable[[str], None] = print) -> None:
    """Run the whole product until SIGTERM or Ctrl-C; usable before Prefect's server is up."""
    from huiying.supervisor import Supervisor

    began = monotonic()
    refuse_mixing(settings)
    with _only_server(settings):
        _refuse_taken_ports(settings)
        say(f"回应系统正在启动 … 数据目录 {settings.data_dir}")
        services = build(settings, upgrade_schema=True)
        _say_findings(services, say)
        _settle_sample_data(services, say)
        services.store.close()

        def ready() -> None:
            _say_ready(settings, monotonic() - began, say)

        Supervisor(_children(settings), _relay(settings, say), on_ready=ready).run()
    say("回应系统已停止。")


def refuse_mixing(settings: Settings) -> None:
    """Sample data and real ones never share a directory; who is refused leaves it byte for byte as it was."""
    from huiying.service import demo
    from huiying.store.db import Store, open_as_it_is

    engine = open_as_it_is(settings.store_url)
    if engine is None:
        return
    store = Store(engine, utc_now)
    try:
        demo.refuse_mixing(store, sample=settings.demo)
    finally:
        store.close()


def _settle_sample_data(services: Services, say: Callable[[str], None]) -> None:
    """A demo has its sample data; anything else never runs on them."""
    from huiying.service import demo

    if services.settings.demo:
        say(demo.prepare(services, say))
    demo.refuse_mismatch(services)


@contextlib.contextmanager
def _only_server(settings: Settings) -> Iterator[None]:
    """Two engines on one data directory would do each other's work; the second ``serve`` is refused."""
    from config.keys import prepare_folder

    prepare_folder(settings.data_dir)
    with (settings.data_dir / _LOCK_FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"数据目录 {settings.data_dir} 已有一个回应系统在运行，未再启动。") from None
        yield


def _refuse_taken_ports(settings: Settings) -> None:
    wanted = [("port", settings.host, settings.port)]
    if settings.prefect_enabled:
        wanted.append(("prefect_port", "127.0.0.1", settings.prefect_port))
    for name, host, port in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise Refused(
                    f"端口 {host}:{port} 无法使用（{error.strerror}）。请停止占用它的程序，或改用别的端口："
                    f"HUIYING_{name.upper()}=端口号。"
                ) from None


def _children(settings: Settings) -> list[ChildSpec]:
    from flows import prefect_server
    from huiying.supervisor import ChildSpec

    ours = {**os.environ, **_handed_on(settings)}
    healthy = _answers(f"{settings.local_url}/livez")
    working = _answers(f"{settings.local_url}/readyz")
    children = [
        ChildSpec(name="web", argv=_process("web"), env=ours, ready=healthy),
        ChildSpec(name="engine", argv=_process("engine"), env=ours, ready=working),
    ]
    if settings.prefect_enabled:
        auth = prefect_server.load_or_create_auth_string(settings.data_dir)
        folder, port = settings.data_dir, settings.prefect_port
        client = prefect_server.client_environment(folder, port, auth)
        server = prefect_server.server_environment(
            folder, port, settings.local_url, auth, database_url=settings.prefect_database_url or None
        )
        children += [
            ChildSpec(
                name="prefect",
                argv=prefect_server.command(),
                env=prefect_server.process_environment(os.environ, server),
                ready=lambda: prefect_server.is_healthy(port),
                critical=False,
            ),
            ChildSpec(
                name="runner",
                argv=_process("runner"),
                env=prefect_server.process_environment(ours, client),
                critical=False,
            ),
        ]
    return children


def _handed_on(settings: Settings) -> Mapping[str, str]:
    """What the command line may have set, so that the children see the same."""
    names = ("data_dir", "host", "port", "public_url", "prefect_port", "prefect_enabled", "log_level", "demo")
    return {f"HUIYING_{name.upper()}": str(getattr(settings, name)) for name in names}


def _process(name: str) -> list[str]:
    return [sys.executable, "-P", "-m", "huiying.cli", "process", name]


def _answers(url: str) -> Callable[[], bool]:
    """A probe on our own loopback, whatever proxy the environment names."""
    from urllib.request import ProxyHandler, build_opener

    opener = build_opener(ProxyHandler({}))

    def probe() -> bool:
        with opener.open(url, timeout=_PROBE_SECONDS) as response:
            return bool(response.status == 200)

    return probe


def _relay(settings: Settings, say: Callable[[str], None]) -> Callable[[str, str], None]:
    """Children's lines with their names; of Prefect's server only what is wrong, unless everything is wanted."""
    from config.secrets import mask

    everything = settings.log_level == "DEBUG"

    def relay(name: str, line: str) -> None:
        if everything or name != "prefect" or _TROUBLE.search(line):
            say(f"[{name}] {mask(line)}")

    return relay


def _say_findings(services: Services, say: Callable[[str], None]) -> None:
    findings = sync_rules(services)
    if findings:
        say(f"注意：规则、日历或方案文件有 {len(findings)} 处问题，有问题的文件未被采用（运行 huiying doctor 查看）。")


def _say_ready(settings: Settings, seconds: float, say: Callable[[str], None]) -> None:
    from huiying.service.demo import ACCOUNTS_FILE, MARK
    from huiying.service.first_run import ADMINISTRATOR_ID, PASSWORD_FILE, UNIT_ID

    say("")
    say(f"回应系统已就绪（用时 {seconds:.1f} 秒）：{settings.public_url or settings.local_url}")
    path, command = settings.data_dir / PASSWORD_FILE, _own_name()
    if settings.demo:
        say(f"{MARK}登录账号在 {settings.data_dir / ACCOUNTS_FILE}")
    elif path.exists():
        say(f"首次使用：在浏览器打开上面的地址，用户编号 {ADMINISTRATOR_ID}，一次性密码在 {path}")
        say("  登录后须立即设置自己的密码并启用动态口令。以后命令行用本人密码换取令牌：")
        say(f"  换取令牌    {command} token exchange --person {ADMINISTRATOR_ID} --code 动态口令")
        say(
            f"  新建值班员  {command} person add zhang --name 张三 --unit {UNIT_ID} --duty 值班员 --access duty --password"
        )
        say(f"  检查本系统  {command} doctor")
    say(f"接口说明：{settings.local_url}/docs")
    say(WARNING)
    say("按 Ctrl-C 停止。")
    say("")


def _own_name() -> str:
    """How the reader calls us: through ./dev in a checkout, by name where we are installed."""
    return "./dev huiying" if (Path(sys.prefix).parent / "dev").is_file() else "huiying"
