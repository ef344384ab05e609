"""What `receive` returns and what `send` accepts, in which order, and what happens otherwise."""

from __future__ import annotations

import contextlib
import statistics
from typing import Any

import pytest
from support.endpoints_script import Step, body_message, script, start_message
from support.remote import (
    literal,
    open_gate,
    records,
    wait_for_record,
    wait_for_records,
    wait_for_waiting,
)
from support.server import Server
from support.wire import ClosedError, TruncatedError


@pytest.fixture
def server(every_transport: Server) -> Server:
    """Every case is run on each transport."""
    return every_transport


DISCONNECT = {"type": "http.disconnect"}
OK: list[Step] = [
    ("send", start_message(200, (b"content-length", b"2"))),
    ("send", body_message(b"ok")),
]


def http_request(body: bytes = b"", more_body: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more_body}


# --- both --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", ["kept", "watched"])
def test_functions_are_of_one_request_and_go_with_it(server: Server, hold: str) -> None:
    for _ in range(3):
        assert literal(server, f"/keep-functions/{hold}") == (False, False)


# --- receive -----------------------------------------------------------------------------------


def test_request_without_a_body_is_one_empty_message(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/messages/{key}")
        assert wire.response().status == 200
    assert records(server, key) == [http_request()]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_empty_body_is_one_empty_message(server: Server, key: str, method: str) -> None:
    for number, field in enumerate(["Content-Length: 0", "X: y"]):
        with server.connect() as wire:
            wire.send_request(method, f"/messages/{key}-{number}", field)
            assert wire.response().status == 200
        assert records(server, f"{key}-{number}") == [http_request()]


def test_body_is_one_message_when_it_comes_at_once(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("POST", f"/messages/{key}", body=b"hello")
        assert wire.response().status == 200
    assert records(server, key) == [http_request(b"hello")]


def test_last_message_says_so_and_only_the_last(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.begin("POST", f"/messages/{key}", length=3)
        for piece in (b"a", b"b", b"c"):
            wire.piece(piece)
            server.barrier()
        assert wire.response().status == 200
    found = records(server, key)
    assert [message["more_body"] for message in found] == [True] * (len(found) - 1) + [False]
    assert b"".join(message["body"] for message in found) == b"abc"
    assert all(set(message) == {"type", "body", "more_body"} for message in found)


def test_receive_waits_for_the_end_of_a_body_without_a_length(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.begin("POST", f"/messages/{key}")
        wire.piece(b"hello")
        server.barrier()
        assert all(message["more_body"] for message in records(server, key))
        wire.piece(b"", end=True)
        assert wire.response().status == 200
    assert records(server, key)[-1]["more_body"] is False


def test_message_types_are_exact(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("POST", "/message-types", body=b"hello")
        assert wire.response().body == b"dict str bytes bool"


def test_messages_are_not_shared(server: Server) -> None:
    with server.connect() as wire:
        for _ in range(3):
            wire.send_request("POST", "/spoil-message", body=b"hello")
            assert wire.response().body == b"hello"
            wire.send_request("GET", "/spoil-message")
            assert wire.response().body == b""


def test_receive_after_the_body_waits_for_the_disconnect(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", script(key, ("receive",), ("receive",)))
        server.barrier()
        assert records(server, key) == [("received", http_request())]
    wait_for_record(server, key, ("received", DISCONNECT))


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_disconnect_is_seen_while_waiting_in_receive(server: Server, key: str, ending: str) -> None:
    wire = server.connect()
    wire.send_request("GET", script(key, ("until-disconnect",)))
    server.barrier()
    wire.close() if ending == "close" else wire.reset()
    wait_for_record(server, key, ("disconnected",))


def test_disconnect_is_seen_within_the_body(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.begin("POST", f"/messages/{key}", length=10)
        wire.piece(b"hello")
        server.barrier()
    assert wait_for_record(server, key, DISCONNECT)[-1] == DISCONNECT


def test_disconnect_is_seen_by_a_later_receive(server: Server, key: str) -> None:
    with server.connect() as wire:
        steps = [("receive",), ("gate", key), ("receive",), ("receive",)]
        wire.send_request("GET", script(f"{key}-steps", *steps))
        wait_for_waiting(server, key)
    server.barrier()
    open_gate(server, key)
    found = wait_for_record(server, f"{key}-steps", ("finished",))
    assert found[1:3] == [("received", DISCONNECT)] * 2


def test_disconnect_is_seen_while_the_response_streams(server: Server, key: str) -> None:
    with server.connect() as wire:
        steps = [("send", start_message()), ("send", body_message(b"a", True))]
        wire.send_request("GET", script(key, *steps, ("until-disconnect",)))
        wire.head()
    wait_for_record(server, key, ("disconnected",))


def test_disconnect_is_seen_by_a_second_request_too(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/")
        wire.send_request("GET", script(key, ("until-disconnect",)))
        assert wire.response().body == b"hello"
        server.barrier()
    wait_for_record(server, key, ("disconnected",))


def test_receive_after_the_response_is_a_disconnect(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", script(key, *OK, ("receive",), ("receive",)))
        assert wire.response().body == b"ok"
        assert wait_for_record(server, key, ("finished",))[2:4] == [("received", DISCONNECT)] * 2
        wire.assert_open()


def test_receive_that_waits_while_the_response_completes_is_a_disconnect(
    server: Server, key: str
) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/receive-across-end/{key}")
        assert wire.response().body == b"ok"
        wait_for_record(server, key, DISCONNECT)
        wire.assert_open()


def test_next_request_does_not_wake_the_receive_of_the_one_before(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", script(key, *OK, ("gate", key), ("receive",)))
        assert wire.response().body == b"ok"
        wire.send_request("POST", "/echo", body=b"next")
        assert wire.response().body == b"next"
        open_gate(server, key)
        assert wait_for_record(server, key, ("finished",))[2] == ("received", DISCONNECT)


# --- send --------------------------------------------------------------------------------------


def raised(server: Server, key: str, *steps: Step) -> Any:
    """What the last step of a script raised."""
    with server.connect() as wire:
        wire.send_request("GET", script(key, *steps))
        wire.read_all()
    found = records(server, key)
    assert found[-1][0] == "raised", found
    return found[-1][1:]


def test_body_before_start_raises(server: Server, key: str) -> None:
    assert raised(server, key, ("send", body_message(b"x"))) == (
        "RuntimeError",
        "Expected ASGI message 'http.response.start', but got 'http.response.body'.",
    )


# An extension that was not announced, extensions that no scope offers, a mistake, and another
# protocol.
UNKNOWN = [
    {"type": "http.response.oops"},
    {"type": "http.response.trailers", "headers": [(b"a", b"b")]},
    {"type": "http.response.push", "path": "/", "headers": []},
    {"type": "http.response.debug", "info": {}},
    {"type": "websocket.accept"},
    {"type": "lifespan.startup.complete"},
    {"type": ""},
]


FILES = [
    {"type": "http.response.pathsend", "path": "/etc/passwd"},
    {"type": "http.response.zerocopysend", "file": 0},
]


@pytest.mark.parametrize("message", UNKNOWN + FILES, ids=lambda message: message["type"])
def test_unknown_message_before_start_raises(
    server: Server, key: str, message: dict[str, Any]
) -> None:
    assert raised(server, key, ("send", message)) == (
        "RuntimeError",
        f"Expected ASGI message 'http.response.start', but got '{message['type']}'.",
    )


@pytest.mark.parametrize("message", UNKNOWN, ids=lambda message: message["type"])
def test_unknown_message_within_the_response_raises(
    server: Server, key: str, message: dict[str, Any]
) -> None:
    assert raised(server, key, ("send", start_message()), ("send", message)) == (
        "RuntimeError",
        f"Expected ASGI message 'http.response.body', but got '{message['type']}'.",
    )


def test_second_start_raises(server: Server, key: str) -> None:
    assert raised(server, key, ("send", start_message()), ("send", start_message())) == (
        "RuntimeError",
        "Expected ASGI message 'http.response.body', but got 'http.response.start'.",
    )


@pytest.mark.parametrize("message", [body_message(b"x"), start_message()])
def test_send_after_the_response_raises_and_leaves_it_whole(
    server: Server, key: str, message: dict[str, Any]
) -> None:
    with server.connect() as wire:
        wire.send_request("GET", script(key, *OK, ("try", message), ("try", message)))
        assert wire.response().body == b"ok"
        wire.assert_open()
    text = f"Unexpected ASGI message '{message['type']}' sent, after response already completed."
    assert records(server, key)[2:4] == [("raised", "RuntimeError", text)] * 2


def test_wrong_message_is_forgiven_when_the_application_goes_on(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", script(key, ("try", body_message(b"x")), *OK))
        assert wire.response().body == b"ok"
        wire.assert_open()


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "http.response.start"},
        {"type": "http.response.start", "status": "200"},
        {"type": "http.response.start", "status": 200, "headers": [("a", "b")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"a",)]},
        {"type": "http.response.start", "status": 200, "headers": [b"a"]},
        {"type": "http.response.start", "status": 200, "headers": 5},
        {"type": 5},
        {"type": None},
    ],
)
def test_malformed_start_raises_and_never_reaches_the_wire(
    server: Server, key: str, message: dict[str, Any]
) -> None:
    with server.connect() as wire:
        wire.send_request("GET", script(key, ("send", message)))
        with contextlib.suppress(ClosedError):
            assert wire.response().status == 500
        wire.assert_given_up()
    assert records(server, key)[-1][0] == "raised"


@pytest.mark.parametrize("body", ["text", 5, [b"x"]])
def test_body_that_is_not_bytes_raises_and_never_looks_whole(
    server: Server, key: str, body: object
) -> None:
    with server.connect() as wire:
        message = {"type": "http.response.body", "body": body}
        wire.send_request("GET", script(key, ("send", start_message()), ("send", message)))
        with pytest.raises((ClosedError, TruncatedError)):
            wire.response()
    assert records(server, key)[-1][0] == "raised"


def test_send_after_the_disconnect_returns(server: Server, key: str) -> None:
    steps: list[Step] = [("until-disconnect",), *OK]
    with server.connect() as wire:
        wire.send_request("GET", script(key, *steps))
        server.barrier()
    found = wait_for_record(server, key, ("finished",))
    assert found[1:3] == [("sent", "http.response.start"), ("sent", "http.response.body")]


def test_send_after_the_disconnect_returns_within_the_response(server: Server, key: str) -> None:
    steps: list[Step] = [("send", start_message()), ("send", body_message(b"a", True))]
    steps += [("until-disconnect",), ("send", body_message(b"b", True)), ("send", body_message())]
    since = server.stderr.count()
    with server.connect() as wire:
        wire.send_request("GET", script(key, *steps))
        wire.head()
    wait_for_record(server, key, ("finished",))
    server.barrier()
    assert not [line for line in server.stderr.all(since) if "ERROR" in line]


def test_application_that_returns_after_the_disconnect_is_no_error(
    server: Server, key: str
) -> None:
    since = server.stderr.count()
    with server.connect() as wire:
        wire.send_request("GET", script(key, ("until-disconnect",)))
        server.barrier()
    wait_for_record(server, key, ("finished",))
    server.barrier()
    assert not [line for line in server.stderr.all(since) if "ASGI callable" in line]


@pytest.mark.parametrize("ending", ["close", "reset"])
def test_send_that_waits_for_the_client_returns_when_it_leaves(
    server: Server, key: str, ending: str
) -> None:
    fills: list[Step] = [("fill", 1 << 20)] * 64
    wire = server.connect()
    wire.send_request("GET", script(key, ("send", start_message()), *fills))
    wire.head()
    server.barrier()
    assert ("finished",) not in records(server, key), "the server buffered it all"
    wire.close() if ending == "close" else wire.reset()
    wait_for_record(server, key, ("finished",))


def test_send_waits_while_the_client_does_not_read(server: Server, key: str) -> None:
    fills: list[Step] = [("fill", 1 << 20)] * 32
    before = server.rss_bytes()
    with server.connect() as wire:
        steps = [("send", start_message()), *fills, ("send", body_message())]
        wire.send_request("GET", script(key, *steps))
        assert wire.is_readable(within_s=5)
        server.barrier()
        server.barrier()
        assert ("finished",) not in records(server, key)
        assert server.rss_bytes() - before < 16 << 20
        # And goes on when it does.
        assert wire.response().body == b"x" * (32 << 20)
        wire.assert_open()
    wait_for_record(server, key, ("finished",))


def test_send_costs_no_more_behind_thousands_of_pieces_that_wait(server: Server, key: str) -> None:
    # As tasks do that each send one: nothing keeps them from it. Longer ones are not copied.
    count, length = 200, 5000
    with server.connect() as wire:
        wire.send_request("GET", f"/pieces-that-wait/{key}/{count}/{length}")
        [batches_s] = wait_for_records(server, key)
        assert statistics.median(batches_s[-5:]) < 5 * statistics.median(batches_s[:5])
        assert wire.response().body == b"x" * (100 * count * length)


def test_thousands_of_tiny_pieces_leave_others_their_turns(server: Server, key: str) -> None:
    count = 20_000
    with server.connect() as wire:
        wire.send_request("GET", f"/tiny-pieces/{key}/{count}")
        assert wire.response().body == b"x" * count
    [turns] = records(server, key)
    assert turns >= 5


# --- Early hints -------------------------------------------------------------------------------


def hint(*links: bytes) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": list(links)}


def test_early_hints_arrive_before_the_response_is_ready(server: Server, key: str) -> None:
    steps = [
        ("send", hint(b"</a>; rel=preload", b"</b>")),
        ("gate", key),
        ("send", hint()),
        ("send", start_message()),
        ("send", hint(b"</c>")),
        ("send", body_message(b"ok")),
    ]
    with server.connect() as wire:
        wire.send_request("GET", script(key, *steps))
        head = wire.head()
        assert head.status == 103
        assert head.reason == (b"Early Hints" if server.http_version == "1.1" else b"")
        assert head.values(b"link") == [b"</a>; rel=preload", b"</b>"]
        wait_for_waiting(server, key)
        open_gate(server, key)
        response = wire.response()
        assert response.interim == (103, 103)
        assert response.body == b"ok"
        wire.assert_open()


def test_early_hints_are_not_for_http_10(shared_server: Server, key: str) -> None:
    target = script(key, ("send", hint(b"</a>")), *OK)
    with shared_server.connect() as wire:
        wire.send(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        response = wire.response()
        assert (response.interim, response.body) == ((), b"ok")


def test_early_hint_that_is_no_field_value_raises(server: Server, key: str) -> None:
    steps = [
        ("try", hint(b"</a>\r\nx: y")),
        ("send", start_message()),
        ("send", body_message(b"k")),
    ]
    with server.connect() as wire:
        wire.send_request("GET", script(key, *steps))
        wire.assert_given_up()
    raised = ("raised", "RuntimeError", "Invalid HTTP header value.")
    assert records(server, key)[0] == raised
