"""The scope of a request: its keys, their types and values, and that nothing in it is shared."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start, speaking
from support.remote import literal
from support.server import Server
from support.wire import Wire


@pytest.fixture
def server(every_version: Server) -> Server:
    return every_version


def scope_on(wire: Wire, target: str, *fields: str, method: str = "GET") -> dict[str, Any]:
    wire.send_request(method, target, *fields)
    response = wire.response()
    assert response.status == 200, response
    scope: dict[str, Any] = ast.literal_eval(response.body.decode())
    return scope


def test_scope_is_what_uvicorn_makes(server: Server) -> None:
    with server.connect() as wire:
        port = wire.socket.getsockname()[1]
        scope = scope_on(wire, "/scope/a%20b?c=%20d&e")
        # Uvicorn has none.
        assert set(scope.pop("extensions")) == {
            "http.response.pathsend",
            "http.response.zerocopysend",
            "http.response.trailers",
            "http.response.early_hint",
        }
        assert scope == {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": server.http_version,
            "server": ("127.0.0.1", server.port),
            "client": ("127.0.0.1", port),
            "scheme": "http",
            "method": "GET",
            "root_path": "",
            "path": "/scope/a b",
            "raw_path": b"/scope/a%20b",
            "query_string": b"c=%20d&e",
            "headers": [(b"host", server.host.encode())],
            "state": {"number": 1, "shared": [], "text": "from lifespan"},
        }


def test_scope_has_the_types_that_uvicorn_gives(server: Server) -> None:
    types = literal(server, "/scope-types")
    assert types == {
        "scope": "dict",
        "type": "str",
        "asgi": "dict",
        "asgi.version": "str",
        "asgi.spec_version": "str",
        "http_version": "str",
        "server": "tuple",
        "server.0": "str",
        "server.1": "int",
        "client": "tuple",
        "client.0": "str",
        "client.1": "int",
        "scheme": "str",
        "method": "str",
        "root_path": "str",
        "path": "str",
        "raw_path": "bytes",
        "query_string": "bytes",
        "headers": "list",
        "headers.0": "tuple",
        "headers.0.0": "bytes",
        "headers.0.1": "bytes",
        "state": "dict",
        "extensions": "dict",
        "extensions.http.response.pathsend": "dict",
        "extensions.http.response.zerocopysend": "dict",
        "extensions.http.response.trailers": "dict",
        "extensions.http.response.early_hint": "dict",
    }


def test_nothing_of_a_scope_is_shared_with_the_next(server: Server) -> None:
    with server.connect() as wire:
        before = scope_on(wire, "/scope")
        wire.send_request("GET", "/spoil-scope/after")
        assert wire.response().body == b"spoilt"
        assert scope_on(wire, "/scope") == before
    with server.connect() as other:
        after = scope_on(other, "/scope")
        assert {**after, "client": None} == {**before, "client": None}


def test_dictionary_that_an_application_keeps_is_in_no_other_scope(server: Server) -> None:
    for position in [0, 1, 2, 3, -1] * 2:
        assert literal(server, f"/keep-dictionary/{position}") == 0


@pytest.mark.strict
def test_extensions_are_in_their_places_again_for_the_next_request(every_transport: Server) -> None:
    for _ in range(3):
        extensions = literal(every_transport, "/shift-extensions")
        described = extensions.pop("tls", None)
        assert described is None or described["tls_version"]
        assert set(map(len, extensions.values())) == {0}


def test_what_repeats_is_not_taken_for_something_like_it(server: Server) -> None:
    values = ["", "a", "b", "ab", "a" * 7, "a" * 8, "a" * 9, "b" + "a" * 8, "a" * 16, "a" * 300]
    with server.connect() as wire:
        for value in [value for value in values for _ in range(3)] + values:
            scope = scope_on(wire, f"/scope/{value}%21", f"x-value: {value}.")
            assert (scope["path"], scope["raw_path"]) == (
                f"/scope/{value}!",
                f"/scope/{value}%21".encode(),
            )
            assert (b"x-value", f"{value}.".encode()) in scope["headers"]


def test_state_is_what_the_lifespan_has_by_now(start: Start) -> None:
    server = start("support.apps:app")
    for key in ["a", "b"]:
        assert key not in literal(server, "/scope")["state"]
        server.get(f"/change-lifespan-state/{key}")
        assert literal(server, "/scope")["state"][key] == "added"


def test_state_is_copied_shallowly_for_each_request(start: Start) -> None:
    server = start("support.apps:app")
    assert literal(server, "/change-state/a") == {"number": 1, "shared": ["a"], "a": "added"}
    assert literal(server, "/change-state/b") == {"number": 1, "shared": ["a", "b"], "b": "added"}


def test_state_is_empty_without_lifespan(start: Start) -> None:
    server = start("support.apps:app", "--lifespan", "off")
    assert literal(server, "/scope")["state"] == {}


@pytest.mark.parametrize(
    ("target", "raw_path", "path", "query"),
    [
        ("/scope?", b"/scope", "/scope", b""),
        ("/scope??", b"/scope", "/scope", b"?"),
        ("/scope?a?b", b"/scope", "/scope", b"a?b"),
        ("/scope?%20%zz+", b"/scope", "/scope", b"%20%zz+"),
        ("/scope/", b"/scope/", "/scope/", b""),
        ("/scope//a", b"/scope//a", "/scope//a", b""),
        ("/scope/./a/../b", b"/scope/./a/../b", "/scope/./a/../b", b""),
        ("/scope/%2e%2e/a", b"/scope/%2e%2e/a", "/scope/../a", b""),
        ("/scope/%2F", b"/scope/%2F", "/scope//", b""),
        ("/scope/%5c", b"/scope/%5c", "/scope/\\", b""),
        ("/scope/%00", b"/scope/%00", "/scope/\x00", b""),
        ("/scope/%3f%23", b"/scope/%3f%23", "/scope/?#", b""),
        ("/scope/%25%20", b"/scope/%25%20", "/scope/% ", b""),
        ("/scope/%2525", b"/scope/%2525", "/scope/%25", b""),
        ("/scope/a+b", b"/scope/a+b", "/scope/a+b", b""),
        ("/scope/a;b=c", b"/scope/a;b=c", "/scope/a;b=c", b""),
        ("/scope/%C3%A9", b"/scope/%C3%A9", "/scope/é", b""),
        ("/scope/%c3%a9", b"/scope/%c3%a9", "/scope/é", b""),
        ("/scope/%F0%9F%A6%8C", b"/scope/%F0%9F%A6%8C", "/scope/🦌", b""),
        ("/scope/%ff", b"/scope/%ff", "/scope/�", b""),
        ("/scope/%ff%fe", b"/scope/%ff%fe", "/scope/��", b""),
        ("/scope/%c3", b"/scope/%c3", "/scope/�", b""),
        ("/scope/%e2%82", b"/scope/%e2%82", "/scope/�", b""),
        ("/scope/%e2%82a", b"/scope/%e2%82a", "/scope/�a", b""),
        ("/scope/%ed%a0%80", b"/scope/%ed%a0%80", "/scope/���", b""),
        ("/scope/%c0%af", b"/scope/%c0%af", "/scope/��", b""),
        ("/scope/%", b"/scope/%", "/scope/%", b""),
        ("/scope/%4", b"/scope/%4", "/scope/%4", b""),
        ("/scope/%zz%4g%41", b"/scope/%zz%4g%41", "/scope/%zz%4gA", b""),
        ("/scope/%%41", b"/scope/%%41", "/scope/%A", b""),
        ("/%73cope", b"/%73cope", "/scope", b""),
    ],
)
def test_path_is_decoded_and_raw_path_is_not(
    server: Server, target: str, raw_path: bytes, path: str, query: bytes
) -> None:
    scope = literal(server, target)
    assert (scope["raw_path"], scope["path"], scope["query_string"]) == (raw_path, path, query)


def test_fragment_is_in_neither_path_nor_query(server: Server) -> None:
    # No client sends one; RFC 9112 has no place for it.
    with server.connect() as wire:
        wire.send_request("GET", "/scope?a#b")
        response = wire.response()
        if response.status == 200:
            scope = ast.literal_eval(response.body.decode())
            assert (scope["path"], scope["query_string"]) == ("/scope", b"a")
        else:
            assert response.status == 400


def test_path_that_starts_with_two_slashes_is_a_path(start: Start) -> None:
    server = start("support.apps:scope_app")
    for target in ("//evil.example/a", "///a", "//"):
        scope = literal(server, target)
        assert (scope["raw_path"], scope["path"]) == (target.encode(), target)


def test_asterisk_is_the_path_of_options(start: Start) -> None:
    server = start("support.apps:scope_app")
    with server.connect() as wire:
        scope = scope_on(wire, "*", method="OPTIONS")
        assert (scope["raw_path"], scope["path"], scope["query_string"]) == (b"*", "*", b"")


@pytest.mark.parametrize(
    ("target", "raw_path", "query"),
    [
        pytest.param("http://a", b"/", b"", marks=pytest.mark.strict),
        pytest.param("http://a?b", b"/", b"b", marks=pytest.mark.strict),
        ("HTTP://a/c?d", b"/c", b"d"),
        ("http://a//c", b"//c", b""),
        ("http://a/?http://b/", b"/", b"http://b/"),
    ],
)
def test_absolute_form_is_cut_down_to_its_path(
    start: Start, target: str, raw_path: bytes, query: bytes
) -> None:
    server = start("support.apps:scope_app")
    with server.connect() as wire:
        wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        scope = ast.literal_eval(wire.response().body.decode())
        assert (scope["raw_path"], scope["query_string"]) == (raw_path, query)
        assert scope["path"] == raw_path.decode()


def test_root_path_goes_before_path_and_raw_path(start: Start) -> None:
    server = start("support.apps:app", "--root-path", "/api/v1")
    scope = literal(server, "/scope/a%20b?c")
    assert scope["root_path"] == "/api/v1"
    assert scope["path"] == "/api/v1/scope/a b"
    assert scope["raw_path"] == b"/api/v1/scope/a%20b"
    assert scope["query_string"] == b"c"


def test_unix_socket_has_a_path_for_a_server_and_no_client(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    server = start("support.apps:app", listen=["--uds", path])
    scope = literal(server, "/scope")
    assert scope["server"] == (path, None)
    assert scope["client"] is None
    assert scope["scheme"] == "http"


def test_ipv6_addresses_are_pairs_like_any_other(start: Start) -> None:
    server = start("support.apps:app", listen=["--host", "::1", "--port", "0"])
    with server.connect() as wire:
        wire.send(b"GET /scope HTTP/1.1\r\nHost: [::1]\r\n\r\n")
        scope = ast.literal_eval(wire.response().body.decode())
        assert scope["server"] == ("::1", server.port)
        assert scope["client"] == ("::1", wire.socket.getsockname()[1])


def test_asgi_2_application_is_served(start: Start) -> None:
    server = start("support.apps:double_callable", "--interface", "asgi2", "--lifespan", "off")
    assert literal(server, "/")["asgi"]["version"] == "2.0"


# --- What proxies tell of their clients -----------------------------------------------------

TRUSTED = "127.0.0.1, 10.0.0.0/8, 2001:db8::/32"


@pytest.fixture(scope="module", params=["http1", "http2"])
def behind_proxies(request: pytest.FixtureRequest, start_module: Start) -> Iterator[Server]:
    server = start_module("support.apps:app", "--forwarded-allow-ips", TRUSTED)
    with speaking(server, request.param) as spoken:
        yield spoken


@pytest.fixture(scope="module", params=["http1", "http2"])
def without_proxies(request: pytest.FixtureRequest, start_module: Start) -> Iterator[Server]:
    options = ("--forwarded-allow-ips", "10.0.0.1", "--strip-untrusted-forwarded")
    server = start_module("support.apps:app", *options)
    with speaking(server, request.param) as spoken:
        yield spoken


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        (["1.2.3.4"], ("1.2.3.4", 0)),
        (["1.2.3.4, 10.0.0.1"], ("1.2.3.4", 0)),
        (["6.6.6.6, 1.2.3.4, 10.0.0.1"], ("1.2.3.4", 0)),
        (["6.6.6.6, 1.2.3.4"], ("1.2.3.4", 0)),
        (["127.0.0.1, 1.2.3.4, 10.0.0.1, 10.0.0.2"], ("1.2.3.4", 0)),
        (["10.0.0.1, 10.0.0.2"], ("10.0.0.1", 0)),
        (["6.6.6.6", "1.2.3.4", "10.0.0.1"], ("1.2.3.4", 0)),
        (["1.2.3.4:1024"], ("1.2.3.4", 1024)),
        (["1.2.3.4:1024, 10.0.0.1:80"], ("1.2.3.4", 1024)),
        (["2001:470::1"], ("2001:470::1", 0)),
        (["[2001:470::1]"], ("2001:470::1", 0)),
        (["[2001:470::1]:1024"], ("2001:470::1", 1024)),
        (["1.2.3.4, 2001:db8::1"], ("1.2.3.4", 0)),
        (["1.2.3.4, [2001:db8::1]:80"], ("1.2.3.4", 0)),
        (["fe80::1%eth0"], ("fe80::1%eth0", 0)),
        (["unknown"], ("unknown", 0)),
        (["1.2.3.4,10.0.0.1"], ("1.2.3.4", 0)),
        (["  1.2.3.4  ,\t10.0.0.1"], ("1.2.3.4", 0)),
        ([""], None),
    ],
)
def test_client_is_the_rightmost_hop_that_is_not_trusted(
    behind_proxies: Server, hops: list[str], client: tuple[str, int] | None
) -> None:
    with behind_proxies.connect() as wire:
        own = wire.socket.getsockname()
        scope = scope_on(wire, "/scope", *(f"X-Forwarded-For: {hop}" for hop in hops))
        assert scope["client"] == (client or own)


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        (["https"], "https"),
        (["http"], "http"),
        (["wss"], "wss"),
        (["http", "https"], "https"),
        (["https", "http"], "http"),
        (["https, http"], "http"),
        (["HTTPS"], "http"),
        (["ftp"], "http"),
        (["javascript"], "http"),
        ([""], "http"),
    ],
)
def test_scheme_is_the_last_forwarded_one_that_is_known(
    behind_proxies: Server, values: list[str], scheme: str
) -> None:
    fields = [f"X-Forwarded-Proto: {value}" for value in values]
    assert literal(behind_proxies, "/scope", *fields)["scheme"] == scheme


@pytest.mark.strict
@pytest.mark.parametrize(
    ("field", "client", "scheme"),
    [
        ("Forwarded: for=1.2.3.4", "1.2.3.4", "http"),
        ("Forwarded: for=6.6.6.6, for=1.2.3.4;proto=https, for=10.0.0.1", "1.2.3.4", "https"),
    ],
)
def test_forwarded_of_a_trusted_peer_is_believed(
    behind_proxies: Server, field: str, client: str, scheme: str
) -> None:
    scope = literal(behind_proxies, "/scope", field)
    assert (scope["client"], scope["scheme"]) == ((client, 0), scheme)


@pytest.mark.strict
@pytest.mark.parametrize(
    "field",
    [
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Prefix: /evil",
    ],
)
def test_field_that_claims_to_be_a_proxys_is_stripped(without_proxies: Server, field: str) -> None:
    scope = literal(without_proxies, "/scope", field, "X-Other: kept")
    assert scope["client"][0] == "127.0.0.1"
    assert [name for name, _ in scope["headers"]] == [b"host", b"x-other"]


def test_forwarded_fields_of_an_untrusted_peer_are_not_believed(start_spoken: Start) -> None:
    server = start_spoken("support.apps:app", "--forwarded-allow-ips", "10.0.0.1")
    with server.connect() as wire:
        own = wire.socket.getsockname()
        fields = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
        scope = scope_on(wire, "/scope", *fields)
        assert (scope["client"], scope["scheme"]) == (own, "http")


def test_forwarded_fields_are_ignored_when_switched_off(start_spoken: Start) -> None:
    server = start_spoken("support.apps:app", "--no-proxy-headers")
    scope = literal(server, "/scope", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")


def test_asterisk_trusts_everyone_and_takes_the_leftmost_hop(start_spoken: Start) -> None:
    server = start_spoken("support.apps:app", "--forwarded-allow-ips", "*")
    scope = literal(server, "/scope", "X-Forwarded-For: 1.2.3.4, 5.6.7.8", "X-Forwarded-Proto: wss")
    assert (scope["client"], scope["scheme"]) == (("1.2.3.4", 0), "wss")


def test_local_peer_is_trusted_by_default(server: Server) -> None:
    scope = literal(server, "/scope", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    assert (scope["client"], scope["scheme"]) == (("1.2.3.4", 0), "https")


def test_trusted_peers_are_read_from_the_environment(start_spoken: Start) -> None:
    server = start_spoken("support.apps:app", environment={"FORWARDED_ALLOW_IPS": "10.0.0.1"})
    scope = literal(server, "/scope", "X-Forwarded-For: 1.2.3.4")
    assert scope["client"][0] == "127.0.0.1"


def test_unix_socket_peer_is_not_trusted_by_default(start_spoken: Start, tmp_path: Path) -> None:
    server = start_spoken("support.apps:app", listen=["--uds", str(tmp_path / "socket")])
    scope = literal(server, "/scope", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    assert (scope["client"], scope["scheme"]) == (None, "http")


def test_unix_socket_peer_is_trusted_with_everyone(start_spoken: Start, tmp_path: Path) -> None:
    listen = ["--uds", str(tmp_path / "socket")]
    server = start_spoken("support.apps:app", "--forwarded-allow-ips", "*", listen=listen)
    scope = literal(server, "/scope", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https")
    assert (scope["client"], scope["scheme"]) == (("1.2.3.4", 0), "https")


def test_forwarded_fields_stay_among_the_headers(server: Server) -> None:
    scope = literal(server, "/scope", "X-Forwarded-For: 1.2.3.4")
    assert (b"x-forwarded-for", b"1.2.3.4") in scope["headers"]
