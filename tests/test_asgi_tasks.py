"""A request runs in a real task: timeouts, groups, cancel scopes, threads and contexts work.

Every test runs on each event loop and over each version of HTTP.
"""

from __future__ import annotations

import ast
import sys
from typing import Any

import pytest
from support.endpoints_tasks import WAYS
from support.remote import (
    literal,
    open_gate,
    records,
    wait_for_record,
    wait_for_records,
)
from support.server import Server
from support.wire import Wire


@pytest.fixture
def server(every_loop: Server) -> Server:
    return every_loop


def literal_on(wire: Wire, method: str, target: str, body: bytes = b"") -> Any:
    wire.send_request(method, target, body=body)
    response = wire.response()
    assert response.status == 200, response
    return ast.literal_eval(response.body.decode())


def test_current_task_is_a_real_task(server: Server) -> None:
    found = literal(server, "/current-task")
    assert found.pop("loop") in ("asyncio", "uvloop")
    assert found == {
        "is_task": True,
        "of_this_loop": True,
        "among_all": True,
        "done": False,
        "cancelling": 0,
        "same_after_await": True,
    }


def test_current_task_is_real_while_the_body_is_awaited(server: Server) -> None:
    with server.connect() as wire:
        wire.begin("POST", "/current-task", length=5)
        server.barrier()
        wire.piece(b"hello")
        assert ast.literal_eval(wire.response().body.decode())["same_after_await"]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="other tasks are entered elsewhere")
def test_the_set_of_all_tasks_has_the_living_only(server: Server) -> None:
    assert literal(server, "/all-tasks") == [[3, 0, 1, 0], 0]


def test_callbacks_of_the_application_go_to_the_loop(server: Server) -> None:
    expected = [[1, (2, 3, 4), "of the callback"], True]
    with server.connect() as wire:
        # What was made of the function that is there during a step works in the turns after it.
        for what in ("remove", "keep", "keep", "remove"):
            assert literal_on(wire, "GET", f"/call-soon/{what}") == expected


def test_asyncio_timeout_fires(server: Server) -> None:
    assert literal(server, "/timeout") == ["sleep", "receive", "nested", "0"]


def test_task_groups_run_and_cancel(server: Server) -> None:
    assert literal(server, "/task-group") == [[0, 2, 4, 6, 8], ["in a child"], True]


def test_anyio_cancel_scopes_cancel(server: Server) -> None:
    found = literal(server, "/anyio-scopes")
    assert found == [True, "failed after", "group cancelled", True]


def test_anyio_listener_sees_the_client_leave(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/anyio-listen/{key}")
        wire.head()
        wire.read_until(b"tick\n")
    assert wait_for_record(server, key, "left") == ["listener saw http.disconnect", "left"]


def test_worker_thread_sees_the_context_and_calls_back(server: Server) -> None:
    assert literal(server, "/threads") == ("of the request", True, "from the loop")


def test_worker_thread_can_answer(server: Server) -> None:
    assert server.get("/thread-sends") == b"from a thread"


def test_twenty_requests_wait_in_threads_at_once(server: Server) -> None:
    wires = [server.connect() for _ in range(20)]
    for wire in wires:
        wire.send_request("GET", "/threads")
    for wire in wires:
        assert wire.response().status == 200
        wire.close()


def test_context_variables_do_not_leak_to_the_next_request(server: Server) -> None:
    with server.connect() as wire:
        for value in ("a", "b", "c"):
            found = literal_on(wire, "GET", f"/context/{value}")
            assert found == ("unset", value, value)
        found = literal_on(wire, "POST", "/context/d", body=b"body")
        assert found == ("unset", "d", "d")


@pytest.mark.strict
def test_context_variables_do_not_leak_between_pipelined_requests(server: Server) -> None:
    with server.connect() as wire:
        for number in range(20):
            wire.send_request("POST", f"/context/{number}", body=b"body")
        for number in range(20):
            found = ast.literal_eval(wire.response().body.decode())
            assert found == ("unset", str(number), str(number))


def test_context_variables_survive_a_wait_for_the_body(server: Server) -> None:
    wires = [server.connect() for _ in range(10)]
    for number, wire in enumerate(wires):
        wire.begin("POST", f"/context/{number}", length=2)
        wire.piece(b"a")
    server.barrier()
    for wire in wires:
        wire.piece(b"b")
    for number, wire in enumerate(wires):
        found = ast.literal_eval(wire.response().body.decode())
        assert found == ("unset", str(number), str(number))
        wire.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("pieces", [[b"hello"], [b"he", b"ll", b"o"]], ids=["whole", "pieces"])
def test_receive_may_be_awaited_in_any_way(server: Server, way: str, pieces: list[bytes]) -> None:
    with server.connect() as wire:
        wire.begin("POST", f"/receive-by/{way}", length=5)
        for piece in pieces:
            server.barrier()
            wire.piece(piece)
        assert wire.response().body == b"hello"
        wire.assert_open()


@pytest.mark.parametrize("way", WAYS)
def test_send_may_be_awaited_in_any_way(server: Server, way: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/send-by/{way}")
        assert wire.response().body == b"abcdef"
        wire.assert_open()


def test_receive_that_was_given_up_loses_no_message(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.begin("POST", f"/receive-patiently/{key}", length=300)
        for piece in range(3):
            before = literal(server, f"/waiting/{key}")
            while literal(server, f"/waiting/{key}") < before + 2:
                pass
            wire.piece(bytes([65 + piece]) * 100)
        gave_up, body = ast.literal_eval(wire.response().body.decode())
        assert gave_up >= 6
        assert body == b"A" * 100 + b"B" * 100 + b"C" * 100
        wire.assert_open()


def test_receive_that_was_cancelled_loses_no_message(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.begin("POST", f"/cancel-waiter/{key}", length=5)
        wait_for_records(server, key)
        wire.piece(b"hello")
        assert wire.response().body == repr((True, b"hello")).encode()
        wire.assert_open()


def test_receive_in_two_tasks_at_once_gives_the_body_once(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.begin("POST", f"/receive-twice/{key}", length=5)
        wait_for_records(server, key)
        wire.piece(b"hello")
        found = ast.literal_eval(wire.response().body.decode())
        assert b"".join(found) == b"hello"


def test_concurrent_sends_are_never_mixed(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/send-concurrently")
        lines = [line.split() for line in wire.response().body.splitlines()]
        wire.assert_open()
    for task in range(8):
        assert [int(number) for one, number in lines if int(one) == task] == list(range(50))
    assert len(lines) == 400


def test_another_task_may_read_and_answer(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("POST", "/answer-from-task", body=b"hello")
        assert wire.response().body == b"from a task: hello"
        wire.assert_open()


def test_disconnect_ends_a_receive_in_another_task(server: Server, key: str) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/receive-in-background/{key}")
        wire.head()
        wire.read_until(b"tick\n")
    assert wait_for_records(server, key) == ["http.disconnect"]


def test_work_after_the_response_goes_on_while_the_connection_is_used(
    server: Server, key: str
) -> None:
    with server.connect() as wire:
        wire.send_request("GET", f"/keep-running/{key}")
        assert wire.response().body == b"answered"
        for _ in range(10):
            wire.assert_open()
        assert records(server, key) == []
    open_gate(server, key)
    assert wait_for_records(server, key) == ["ran to its end"]


def test_work_after_the_response_goes_on_when_the_client_leaves(server: Server, key: str) -> None:
    wire = server.connect()
    wire.send_request("GET", f"/keep-running/{key}")
    assert wire.response().body == b"answered"
    wire.reset()
    server.barrier()
    open_gate(server, key)
    assert wait_for_records(server, key) == ["ran to its end"]


def test_task_that_cancels_itself_is_a_500(server: Server) -> None:
    with server.connect() as wire:
        wire.send_request("GET", "/cancel-self")
        assert wire.response().status == 500
        wire.assert_given_up()


def test_tasks_are_gone_when_their_requests_are(server: Server) -> None:
    before = literal(server, "/process")["tasks"]
    for _ in range(20):
        server.get("/timeout")
    assert literal(server, "/process")["tasks"] <= before
