"""The choice of an event loop."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from pronghorn.config import Config
from pronghorn.errors import ImportFromStringError
from pronghorn.loops import loop_factory

has_uvloop = importlib.util.find_spec("uvloop") is not None


def loop_module(name: str) -> str:
    factory = loop_factory(name)
    with asyncio.Runner(loop_factory=factory) as runner:
        return type(runner.get_loop()).__module__


def test_none_leaves_the_choice_to_asyncio() -> None:
    assert loop_factory("none") is None


def test_asyncio_is_a_selector_loop() -> None:
    assert loop_factory("asyncio") is asyncio.SelectorEventLoop


@pytest.mark.skipif(not has_uvloop, reason="uvloop is not installed")
@pytest.mark.parametrize("name", ["auto", "uvloop"])
def test_uvloop_is_used_where_installed(name: str) -> None:
    assert loop_module(name).startswith("uvloop")


def test_auto_does_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory("auto") is asyncio.SelectorEventLoop


def test_named_loop_that_is_not_installed_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ImportFromStringError, match="`uvloop` is not installed"):
        loop_factory("uvloop")


def test_own_factory_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loops_own.py").write_text(
        "import asyncio\nclass Loop(asyncio.SelectorEventLoop): ...\nnumber = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert loop_module("loops_own:Loop") == "loops_own"
    with pytest.raises(ImportFromStringError, match="`loops_own:number` is not callable"):
        loop_factory("loops_own:number")


def test_factory_itself_can_be_given() -> None:
    config = Config("main:app", loop=asyncio.SelectorEventLoop)
    assert config.get_loop_factory() is asyncio.SelectorEventLoop
    assert Config("main:app", loop=None).get_loop_factory() is None


def test_loop_is_complained_of_only_where_one_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    loop: Any = asyncio.new_event_loop()
    loop.close()
    config = Config("main:app", loop=loop)
    with pytest.raises(SystemExit) as caught:
        config.get_loop_factory()
    assert caught.value.code == 3
    assert "is not callable; name a function" in capsys.readouterr().err


def test_unknown_loop_exits_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    config = Config("main:app", loop="gevent")
    with pytest.raises(SystemExit) as caught:
        config.get_loop_factory()
    assert caught.value.code == 3
    assert "Error loading custom loop setup function. Import string" in capsys.readouterr().err


OWN_LOOP = """
import asyncio

class OwnFuture(asyncio.Future): ...

class Loop(asyncio.SelectorEventLoop):
    def create_future(self):
        return OwnFuture(loop=self)

async def app(scope, receive, send):
    await receive()

    async def wait():
        await receive()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    body = type(task._fut_waiter).__name__.encode()
    task.cancel()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize(
    ("loop", "expected"), [("loop_of_its_own:Loop", b"OwnFuture"), ("asyncio", b"Future")]
)
def test_receive_waits_on_the_loops_own_future(
    start: Start, tmp_path: Path, loop: str, expected: bytes
) -> None:
    (tmp_path / "loop_of_its_own.py").write_text(OWN_LOOP)
    options = ("--loop", loop, "--lifespan", "off")
    environment = {"PYTHONPATH": str(tmp_path)}
    server = start("loop_of_its_own:app", *options, environment=environment)
    assert server.get("/") == expected
