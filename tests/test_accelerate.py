"""`--accelerate`: what it says at start-up, and that off imports nothing of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.server import Server

TESTS = Path(__file__).parent
Start = Callable[..., Server]

pytestmark = pytest.mark.strict


def test_says_that_it_is_on(start: Start) -> None:
    server = start("support.fastapi_app:app")
    server.stderr.wait_for(r"FastAPI accelerator is on \(FastAPI \d")
    assert server.get("/") == b'{"hello":"world"}'


def test_says_nothing_about_another_framework(start: Start) -> None:
    server = start("support.starlette_app:app")
    assert "accelerator" not in server.stderr.text()


def test_on_refuses_to_start_where_nothing_can_be_accelerated() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pronghorn", "support.apps:app", "--accelerate", "on", "--port=0"],
        cwd=TESTS,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 3
    line = "`--accelerate on`: nothing can be accelerated, the application does not use FastAPI."
    assert line in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_off_imports_nothing_of_it(choice: str) -> None:
    code = (
        "import sys; from pronghorn import Config; "
        f"Config('support.fastapi_app:app', accelerate={choice!r}).load(); "
        "print(any(name.startswith('pronghorn.fastapi') for name in sys.modules))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], cwd=TESTS, text=True)
    assert printed.strip() == str(choice == "auto")


APP = """
from fastapi import FastAPI
from pydantic import BaseModel

class Item(BaseModel):
    name: str

app = FastAPI()

@app.get("/")
async def home() -> dict[str, str]:
    return {"hello": "world"}

@app.post("/items")
async def create(item: Item) -> Item:
    return item

def ask():
    import asyncio, httpx

    async def both():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            first = await client.get("/")
            second = await client.post("/items", json={"name": "a"})
        return first.text, second.text

    return asyncio.run(both())

def tiers():
    from pronghorn.fastapi import report
    return {each.path: each.tier for each in report(app) if each.path in ("/", "/items")}
"""


def run(code: str) -> list[str]:
    """The lines that a script prints, in a process of its own."""
    return subprocess.check_output([sys.executable, "-c", code], cwd=TESTS, text=True).splitlines()


FORGET = """
from pronghorn.fastapi import install, start_up_line, state
from pronghorn.fastapi import fingerprints
for name in list(fingerprints.known()):
    if name.startswith({prefix!r}):
        del fingerprints.known()[name]
install()
"""


def test_an_unknown_function_switches_off_what_it_is_needed_for() -> None:
    lines = run(
        FORGET.format(prefix="starlette.requests:Request.json")
        + APP
        + "print(ask()); print(tiers()); print(start_up_line()[1])"
    )
    assert lines[0] == str(('{"hello":"world"}', '{"name":"a"}'))
    assert lines[1] == str({"/": "compiled", "/items": "routed"})
    assert lines[2].startswith("FastAPI accelerator is in part: it does not know FastAPI ")
    assert lines[2].endswith("well enough for: json_body.")


def test_an_unknown_version_is_left_alone() -> None:
    lines = run(
        FORGET.format(prefix="") + APP + "print(ask()); print(state.features, start_up_line()[1])"
    )
    assert lines[0] == str(('{"hello":"world"}', '{"name":"a"}'))
    assert lines[1].startswith("frozenset() FastAPI accelerator is off: it does not know FastAPI ")


@pytest.mark.parametrize("wrapper", ["lambda *each: own(*each)", "functools.partialmethod(own)"])
def test_what_another_library_has_replaced_is_named(wrapper: str) -> None:
    before = (
        "import functools, fastapi.routing\n"
        "from pronghorn.fastapi import install, start_up_line\n"
        f"own = fastapi.routing.APIRoute.handle\nfastapi.routing.APIRoute.handle = {wrapper}\n"
        "install()\n"
    )
    lines = run(before + APP + "print(ask()); print(start_up_line()[1])")
    assert lines[0] == str(('{"hello":"world"}', '{"name":"a"}'))
    replaced = "something has replaced fastapi.routing:APIRoute.handle, needed for: "
    assert lines[1].startswith(f"FastAPI accelerator is off: {replaced}")


def test_a_library_may_have_wrapped_fastapi_before() -> None:
    before = 'import sentry_sdk\nsentry_sdk.init(dsn="http://key@127.0.0.1:1/1")\n'
    accelerated = "from pronghorn.fastapi import accelerate\naccelerate(app)\n"
    lines = run(before + APP + accelerated + "print(ask())")
    assert lines == [str(('{"hello":"world"}', '{"name":"a"}'))]


def test_an_application_or_an_endpoint_can_be_left_to_fastapi() -> None:
    script = "from pronghorn.fastapi import accelerate, keep_original\n" + APP + "accelerate(app)\n"
    assert run(script + "keep_original(home); print(tiers())") == [
        str({"/": "original", "/items": "compiled"})
    ]
    assert run(script + "keep_original(app); print(tiers(), ask()[0])") == [
        str({"/": "original", "/items": "original"}) + ' {"hello":"world"}'
    ]


def test_uninstalling_gives_the_classes_their_methods_back() -> None:
    assert run(
        "from fastapi import FastAPI; before = FastAPI.__call__\n"
        "from pronghorn.fastapi import install, uninstall; install()\n"
        "print(FastAPI.__call__ is before); uninstall(); print(FastAPI.__call__ is before)"
    ) == ["False", "True"]


def test_routes_are_listed_with_the_reason() -> None:
    command = [sys.executable, "-m", "pronghorn", "routes", "support.fastapi_app:app"]
    printed = subprocess.check_output(command, cwd=TESTS, text=True)
    lines = [line.split(maxsplit=2) for line in printed.splitlines()[1:]]
    assert ["GET", "/", "compiled"] in lines
    assert ["GET,HEAD", "/docs", "routed  (it is a Starlette route)"] in lines
