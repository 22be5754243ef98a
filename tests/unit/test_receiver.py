"""The counting receiver of bench and trials counts right, also across keep-alive and pipelining."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request

from tests.fakes.receiver import Receiver


def _post(message_id: str, body: bytes = b"{}") -> bytes:
    return (
        b"POST /x HTTP/1.1\r\nHost: x\r\nWebhook-Id: %s\r\nContent-Length: %d\r\n\r\n"
        % (message_id.encode(), len(body))
        + body
    )


def test_every_post_is_counted_with_its_id_and_time():
    with Receiver() as receiver, socket.create_connection(("127.0.0.1", receiver.port)) as link:
        before = time.time()
        whole = _post("N-1") + _post("N-2", b"x" * 5000) + _post("N-1")
        for start in range(0, len(whole), 700):
            link.sendall(whole[start : start + 700])
            time.sleep(0.005)
        answer = b""
        while answer.count(b"HTTP/1.1 200") < 3:
            answer += link.recv(4096)
        stats = receiver.record.stats()
    assert (stats["count"], stats["distinct"], stats["duplicates"], stats["max_copies"]) == (3, 2, 1, 2)
    assert [post_id for post_id, _ in receiver.record.posts] == ["N-1", "N-2", "N-1"]
    assert before - 1 < stats["first_at"] <= stats["last_at"] < time.time() + 1


def test_it_runs_as_a_process_with_a_delay_and_answers_stats():
    command = [sys.executable, "-m", "tests.fakes.receiver", "--delay", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        base = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        try:
            start = time.monotonic()
            request = urllib.request.Request(f"{base}/x", b"{}", {"webhook-id": "N-9"})
            assert urllib.request.urlopen(request).status == 200
            assert time.monotonic() - start >= 0.05
            assert json.load(urllib.request.urlopen(f"{base}/stats"))["count"] == 1
            assert json.load(urllib.request.urlopen(f"{base}/records"))[0][0] == "N-9"
        finally:
            process.terminate()
