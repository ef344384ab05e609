"""How evenly 64 keep-alive connections and their requests spread over two processes.

Three small servers show what the kernel does by itself: both processes wait for one listening
socket, the same with EPOLLEXCLUSIVE, and a socket for each with SO_REUSEPORT. The fourth is
Pronghorn, whose processes leave connections to whoever has fewer. Run it with
`python bench/spread.py`; it prints the smaller share of the connections for each way, median and
worst of the rounds, and then that of the requests that Pronghorn's processes answer when the
connections ask without a pause, for one start of the server after another.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

APP = """
import os
PID, count = os.getpid(), 0
async def app(scope, receive, send):
    global count
    assert scope["type"] == "http"
    count += 1
    body = b"%d %d" % (PID, count)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
WORKERS = 2
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
READABLE = select.EPOLLIN


def listening(port: int = 0, *, reuse_port: bool = False) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
    listener.bind(("127.0.0.1", port))
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def answer(listener: socket.socket, flags: int) -> None:
    """Accepts all that waits whenever it is woken, and answers with its process id."""
    poll = select.epoll()
    poll.register(listener, READABLE | flags)
    open_ones: dict[int, socket.socket] = {}
    body = b"%d" % os.getpid()
    response = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    while True:
        for number, _ in poll.poll():
            if number != listener.fileno():
                if open_ones[number].recv(4096):
                    open_ones[number].sendall(response)
                else:
                    open_ones.pop(number).close()
                continue
            while True:
                try:
                    connection, _ = listener.accept()
                except BlockingIOError:
                    break
                open_ones[connection.fileno()] = connection
                poll.register(connection, READABLE)


@contextmanager
def forked(make: Callable[[], list[socket.socket]], flags: int = 0) -> Iterator[int]:
    listeners = make()
    pids = []
    for listener in listeners:
        pid = os.fork()
        if pid == 0:
            answer(listener, flags)
        pids.append(pid)
    try:
        yield listeners[0].getsockname()[1]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for listener in set(listeners):
            listener.close()


def shared() -> list[socket.socket]:
    return [listening()] * 2


def separate() -> list[socket.socket]:
    first = listening(reuse_port=True)
    return [first, listening(first.getsockname()[1], reuse_port=True)]


@contextmanager
def pronghorn(directory: Path) -> Iterator[int]:
    (directory / "spread_app.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--workers",
        str(WORKERS),
        "--port",
        str(port),
        "--no-access-log",
        "--log-level",
        "error",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pronghorn", "spread_app:app", "--app-dir", str(directory), *options]
    )
    try:
        seen: set[bytes] = set()
        while len(seen) < WORKERS:
            try:
                seen |= {pid for pid, _ in told(port, 1)}
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def told(port: int, connections: int) -> list[tuple[bytes, int]]:
    """What so many connections, all open at once, are answered: by whom, the how-manieth time."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(connections)
        ]
        for client in clients:
            client.sendall(REQUEST)
        bodies = [client.recv(4096).rpartition(b"\r\n\r\n")[2].split() for client in clients]
    return [(body[0], int(body[-1])) for body in bodies]


def answers_of(port: int, connections: int, seconds: float) -> Counter[bytes]:
    """Who answers how often when each connection asks again as soon as it is answered."""
    load = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds:g}s"]
    subprocess.run([*load, f"http://127.0.0.1:{port}/"], check=True, stdout=subprocess.DEVNULL)
    found: Counter[bytes] = Counter()
    while len(found) < WORKERS:
        found.update({pid: count for pid, count in told(port, 1) if pid not in found})
    return found


def report_requests(starts: int, connections: int, seconds: float) -> None:
    shares, rates = [], []
    for _ in range(starts):
        with tempfile.TemporaryDirectory() as directory, pronghorn(Path(directory)) as port:
            counts = answers_of(port, connections, seconds)
        shares.append(min(counts.values()) / counts.total() if len(counts) > 1 else 0.0)
        rates.append(counts.total() / seconds)
    each = " ".join(f"{share:.1%}" for share in shares)
    print(f"requests, {starts} starts of Pronghorn: smaller share {each}")
    print(f"median {statistics.median(shares):.1%}, worst {min(shares):.1%}", end="")
    print(f"; {statistics.median(rates):.0f} requests/s")


def report(name: str, port: int, rounds: int, connections: int) -> None:
    shares = []
    for _ in range(rounds):
        counts = Counter(pid for pid, _ in told(port, connections))
        shares.append(min(counts.values()) / connections if len(counts) > 1 else 0.0)
    print(f"{name:32} smaller share {statistics.median(shares):5.0%}, worst {min(shares):5.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3, help="of requests, for each start")
    options = parser.parse_args()
    if options.rounds:
        report_connections(options)
    report_requests(options.starts, options.connections, options.seconds)


def report_connections(options: argparse.Namespace) -> None:
    amount = (options.rounds, options.connections)
    with forked(shared) as port:
        report("one listener", port, *amount)
    with forked(shared, select.EPOLLEXCLUSIVE) as port:
        report("one listener, EPOLLEXCLUSIVE", port, *amount)
    with forked(separate) as port:
        report("a listener each, SO_REUSEPORT", port, *amount)
    with tempfile.TemporaryDirectory() as directory, pronghorn(Path(directory)) as port:
        report("Pronghorn", port, *amount)


if __name__ == "__main__":
    main()
