"""How fast one process posts with sixteen threads: ``python -m tests.bench_http [--posts N] [--threads T]``.

Everything posts the same 600 bytes to the same receiver (a process of its own) over keep-alive connections, in turns,
and the best of the rounds is shown; ratios are against urllib3's own pool. Then a server that drips a byte every 0.2 s
is asked for an answer within one second.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import requests
import urllib3

from huiying.domain.kinds import ChannelKind
from huiying.domain.outcome import Accepted
from notifiers.contract import Address
from notifiers.guard import Guard, parse_target
from notifiers.http import HttpClient, Reply
from tests.fakes.http_server import HttpServer, drip
from tests.fakes.notices import a_notice, a_notifier
from tests.fakes.webhook import SECRET

_BODY = b'{"text":"' + b"a" * 600 + b'"}'
_HEADERS = {"Content-Type": "application/json"}
Post = Callable[[], object]


def _rate(post: Post, posts: int, threads: int) -> float:
    tickets = itertools.count()

    def work() -> None:
        while next(tickets) < posts:
            post()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    start = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return posts / (time.monotonic() - start)


def _clients(url: str, threads: int) -> dict[str, Post]:
    client = HttpClient(threads=threads, guard=Guard(allow_loopback=True))
    target = parse_target(url)
    pool = urllib3.PoolManager(maxsize=threads).connection_from_url(url)
    local = threading.local()

    def plain_session() -> requests.Session:
        session = requests.Session()
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=threads))
        return session

    default, quiet = plain_session(), plain_session()
    quiet.trust_env = False

    def standard_library() -> None:
        link = getattr(local, "link", None)
        if link is None:
            link = local.link = http.client.HTTPConnection(target.host, target.port)
        link.request("POST", target.path, _BODY, _HEADERS)
        link.getresponse().read()

    def ours() -> None:
        assert isinstance(client.post(target, _BODY, _HEADERS, 10.0), Reply)

    webhook = a_notifier(ChannelKind.WEBHOOK, url=url, secret=SECRET)
    notice, nobody, now = a_notice(), Address(), datetime.now(UTC)

    def whole_notifier() -> None:
        assert isinstance(webhook.send(notice, nobody, now, 10.0), Accepted)

    return {
        "requests.Session": lambda: default.post(url, data=_BODY, headers=_HEADERS, timeout=(3, 5)).content,
        "requests, trust_env=False": lambda: quiet.post(url, data=_BODY, headers=_HEADERS, timeout=(3, 5)).content,
        "urllib3 pool": lambda: pool.urlopen("POST", target.path, body=_BODY, headers=_HEADERS).data,
        "http.client": standard_library,
        "notifiers.http": ours,
        "webhook notifier": whole_notifier,
    }


def measure(posts: int = 3000, threads: int = 16, rounds: int = 3) -> dict[str, float]:
    """Posts per second of each client, best of the rounds."""
    command = [sys.executable, "-m", "tests.fakes.receiver"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout is not None
        port = json.loads(receiver.stdout.readline())["port"]
        clients = _clients(f"http://127.0.0.1:{port}/hook", threads)
        best = dict.fromkeys(clients, 0.0)
        for _ in range(rounds):
            for name, post in clients.items():
                best[name] = max(best[name], _rate(post, posts, threads))
        receiver.terminate()
    return best


def patience(seconds: float = 1.0, drops: int = 40) -> dict[str, float]:
    """How long a dripping server (``drops`` bytes, one every 0.2 s) holds a caller that gives it one second."""
    took: dict[str, float] = {}
    with HttpServer() as server:
        server.fail_with(drip(0.2, drops=drops), drip(0.2, drops=drops))
        start = time.monotonic()
        with contextlib.suppress(requests.RequestException):
            requests.post(server.base_url, data=_BODY, timeout=(seconds, seconds))
        took["requests, timeout=(1, 1)"] = time.monotonic() - start
        start = time.monotonic()
        outcome = HttpClient(guard=Guard(allow_loopback=True)).post(parse_target(server.base_url), _BODY, {}, seconds)
        took["notifiers.http, 1 s"] = time.monotonic() - start
        assert isinstance(outcome, Reply)
        assert not outcome.complete
    return took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates = measure(options.posts, options.threads, options.rounds)
    for name, rate in rates.items():
        print(f"{name:28} {rate:8.0f} /s   {rate / rates['urllib3 pool']:5.2f} x urllib3")
    for name, seconds in patience().items():
        print(f"{name:28} {seconds:8.2f} s held by a dripping server")


if __name__ == "__main__":
    main()
