"""One request's trouble stays its own: others are served at once, whatever an application does.

Every test runs on each event loop and over each version of HTTP.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest
from conftest import Start, loops
from support.endpoints_script import Step, body_message, script, start_message
from support.remote import (
    literal,
    open_gate,
    wait_for_records,
    wait_for_waiting,
)
from support.server import WAIT_S_MAX, Server
from support.wire import TruncatedError, Wire, request

OK: list[Step] = [
    ("send", start_message(200, (b"content-length", b"2"))),
    ("send", body_message(b"ok")),
]
TROUBLEMAKERS = 10


@pytest.fixture
def server(every_loop: Server) -> Server:
    return every_loop


@pytest.fixture
def bystander(loop_server: Server) -> Iterator[Wire]:
    """A connection that was there before the trouble and is in step after it."""
    with loop_server.connect() as wire:
        wire.assert_open()
        yield wire
        wire.assert_open()


def assert_others_are_served(server: Server, bystander: Wire) -> None:
    for number in range(10):
        bystander.send_request("POST", "/echo", body=b"%d" % number)
        assert bystander.response().body == b"%d" % number
        assert server.get("/") == b"hello"


@contextlib.contextmanager
def troublemakers(server: Server, target: str, *fields: str) -> Iterator[list[Wire]]:
    """Connections that each sent the request."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(server.connect()) for _ in range(TROUBLEMAKERS)]
        for wire in wires:
            wire.send_request("GET", target, *fields)
        yield wires


@pytest.mark.parametrize(
    "kind",
    [
        "Exception",
        "BaseException",
        "GeneratorExit",
        "CancelledError",
        "StopAsyncIteration",
        "MemoryError",
        "RecursionError",
        "ExceptionGroup",
        "UnprintableError",
        "KeyboardInterrupt",
        "SystemExit",
    ],
)
def test_application_that_raises(server: Server, bystander: Wire, kind: str) -> None:
    with troublemakers(server, f"/raise/{kind}") as wires:
        for wire in wires:
            assert wire.response().status == 500
            wire.assert_given_up()
        assert_others_are_served(server, bystander)


def test_application_that_hangs(server: Server, bystander: Wire, key: str) -> None:
    with troublemakers(server, f"/wait/{key}") as wires:
        wait_for_waiting(server, key, len(wires))
        assert_others_are_served(server, bystander)
        open_gate(server, key)
        assert {wire.response().body for wire in wires} == {b"opened"}


def test_application_that_hangs_in_receive(server: Server, bystander: Wire, key: str) -> None:
    with troublemakers(server, script(key, ("until-disconnect",))) as wires:
        server.barrier()
        assert_others_are_served(server, bystander)
        for wire in wires:
            assert not wire.is_readable()
    assert len([one for one in wait_for_records(server, key, 20) if one == ("finished",)]) == 10


def test_application_that_hangs_within_its_response(
    server: Server, bystander: Wire, key: str
) -> None:
    steps: list[Step] = [("send", start_message()), ("send", body_message(b"a", True))]
    target = script(key, *steps, ("gate", key), ("send", body_message(b"b")))
    with troublemakers(server, target) as wires:
        wait_for_waiting(server, key, len(wires))
        assert_others_are_served(server, bystander)
        open_gate(server, key)
        assert {wire.response().body for wire in wires} == {b"ab"}


def test_application_that_never_reads_the_body(
    loop_server: Server, bystander: Wire, key: str
) -> None:
    target = f"/wait/{key}"
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(loop_server.connect()) for _ in range(TROUBLEMAKERS)]
        for wire in wires:
            wire.send(request("POST", target, f"Content-Length: {50 << 20}"))
            wire.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    wire.socket.send(b"x" * (1 << 20))
        wait_for_waiting(loop_server, key, len(wires))
        assert_others_are_served(loop_server, bystander)
        open_gate(loop_server, key)


def test_application_that_answers_twice(server: Server, bystander: Wire, key: str) -> None:
    with troublemakers(server, script(key, *OK, *OK)) as wires:
        for wire in wires:
            assert wire.response().body == b"ok"
            wire.send_request("GET", "/")
            with contextlib.suppress(AssertionError):
                assert wire.response().body == b"hello"
        assert_others_are_served(server, bystander)


def test_application_that_answers_twice_leaves_its_connection_in_step(
    server: Server, key: str
) -> None:
    steps = [*OK, *[("try", message) for _, message in OK]]
    with server.connect() as wire:
        for number in range(5):
            wire.send_request("GET", script(f"{key}-{number}", *steps))
            assert wire.response().body == b"ok"
        wire.assert_open()


def test_application_that_answers_after_the_disconnect(
    server: Server, bystander: Wire, key: str
) -> None:
    with troublemakers(server, script(f"{key}-steps", ("gate", key), *OK)) as wires:
        wait_for_waiting(server, key, len(wires))
        for number, wire in enumerate(wires):
            wire.close() if number % 2 else wire.reset()
        server.barrier()
        # New connections take the places of the old ones.
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(server.connect()) for _ in wires]
            for other in others:
                other.assert_open()
            open_gate(server, key)
            wait_for_records(server, f"{key}-steps", 3 * len(wires))
            for other in others:
                assert not other.is_readable(), "an answer went to another connection"
                other.assert_open()
        assert_others_are_served(server, bystander)


def test_application_that_is_cancelled(server: Server, bystander: Wire) -> None:
    with troublemakers(server, "/cancel-self") as wires:
        assert_others_are_served(server, bystander)
        for wire in wires:
            assert wire.response().status == 500
            wire.assert_given_up()


@pytest.fixture(params=loops())
def doomed(request: pytest.FixtureRequest, start: Start) -> Server:
    """A server whose applications never end, so that no other test may have it."""
    return start("support.apps:app", "--loop", request.param)


def test_application_that_sends_for_ever_to_a_client_that_does_not_read(
    doomed: Server, key: str
) -> None:
    before = doomed.rss_bytes()
    with (
        doomed.connect() as bystander,
        troublemakers(doomed, f"/send-for-ever/{key}") as wires,
    ):
        wait_for_records(doomed, key, len(wires))
        assert_others_are_served(doomed, bystander)
        assert doomed.rss_bytes() - before < 32 << 20
        for wire in wires:
            wire.head()
            assert_others_are_served(doomed, bystander)


def test_application_that_sends_for_ever_to_a_client_that_reads(doomed: Server, key: str) -> None:
    with doomed.connect() as bystander, doomed.connect() as wire:
        wire.send_request("GET", f"/send-for-ever/{key}")
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set() and wire.socket.recv(1 << 20):
                pass

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for _ in range(5):
                assert_others_are_served(doomed, bystander)
        finally:
            stop.set()
            reader.join()


@pytest.mark.strict
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_application_that_sends_for_ever_to_a_client_that_left(
    doomed: Server, key: str, ending: str
) -> None:
    with doomed.connect() as bystander:
        with troublemakers(doomed, f"/send-for-ever/{key}") as wires:
            wait_for_records(doomed, key, len(wires))
            for wire in wires:
                wire.close() if ending == "close" else wire.reset()
        assert_others_are_served(doomed, bystander)


@pytest.mark.strict
def test_application_that_receives_for_ever_from_a_client_that_left(
    doomed: Server, key: str
) -> None:
    with doomed.connect() as bystander:
        with troublemakers(doomed, f"/receive-for-ever/{key}") as wires:
            wait_for_records(doomed, key, len(wires))
        assert_others_are_served(doomed, bystander)


def test_application_that_gives_up_sending(server: Server, bystander: Wire, key: str) -> None:
    with troublemakers(server, f"/give-up-sending/{key}") as wires:
        wait_for_records(server, key, len(wires))
        assert_others_are_served(server, bystander)
        for wire in wires:
            with pytest.raises(TruncatedError):
                wire.response()


def test_application_that_empties_its_scope(start: Start) -> None:
    server = start("support.apps:app")
    with server.connect() as bystander:
        with troublemakers(server, "/spoil-scope/before"):
            assert_others_are_served(server, bystander)
        with troublemakers(server, "/spoil-scope/after") as wires:
            for wire in wires:
                assert wire.response().body == b"spoilt"
            assert_others_are_served(server, bystander)


def test_application_that_is_no_coroutine(start: Start) -> None:
    server = start(
        "support.apps:no_coroutine", "--interface", "asgi3", "--lifespan", "off"
    )  # fmt: skip
    for _ in range(5):
        with server.connect() as wire:
            wire.send_request("GET", "/")
            assert wire.response().status == 500
            wire.assert_given_up()
    server.stderr.wait_for("TypeError")


def test_client_that_sends_without_end(loop_server: Server, bystander: Wire) -> None:
    # One connection that always has more to read must not take every turn.
    total = 256 << 20
    with loop_server.connect() as wire:
        wire.send(request("POST", "/digest", f"Content-Length: {total}"))

        def upload() -> None:
            for _ in range(total >> 20):
                wire.send(b"x" * (1 << 20))

        sender = threading.Thread(target=upload)
        sender.start()
        assert_others_are_served(loop_server, bystander)
        sender.join()
        assert wire.response(deadline_s=30).status == 200


def test_client_that_pipelines_without_end(loop_server: Server, bystander: Wire) -> None:
    with loop_server.connect() as wire:
        count = 20_000

        def ask() -> None:
            wire.send(request("GET", "/") * count)

        sender = threading.Thread(target=ask)
        sender.start()
        assert_others_are_served(loop_server, bystander)
        for _ in range(count):
            assert wire.response().body == b"hello"
        sender.join()


def test_clients_that_leave_at_every_moment(loop_server: Server, bystander: Wire, key: str) -> None:
    data = request("POST", f"/messages/{key}", "Transfer-Encoding: chunked")
    data += b"5\r\nhello\r\n0\r\n\r\n" + request("GET", "/large/300000/1000")
    for cut in range(1, len(data)):
        wire = loop_server.connect()
        wire.send(data[:cut])
        if cut % 3 == 0:
            loop_server.barrier()
        wire.close() if cut % 2 else wire.reset()
    assert_others_are_served(loop_server, bystander)


def test_nothing_is_left_of_the_trouble(server: Server) -> None:
    # Whatever hung or streamed on the shared server has ended with its client.
    until = time.monotonic() + WAIT_S_MAX
    while literal(server, "/process")["tasks"] > 5:
        assert time.monotonic() < until, literal(server, "/process")
        time.sleep(0.01)
