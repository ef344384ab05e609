"""Releases of FastAPI that the accelerator does not know, or knows in part."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from pronghorn.fastapi import fingerprints, install, installing, standins, state, uninstall
from pydantic import BaseModel

from accelerator.ask import ask
from accelerator.conftest import Tiers
from accelerator.rewriting import accept

TESTS = Path(__file__).resolve().parents[1]
FEATURES = tuple(standins.STAND_INS)


class Item(BaseModel):
    name: str


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def root(q: int = 1) -> dict[str, int]:
        return {"q": q}

    @app.post("/item")
    async def item(given: Item) -> Item:
        return given

    return app


@pytest.fixture(autouse=True)
def off() -> Iterator[None]:
    uninstall()
    accept()
    yield
    uninstall()


def works(app: FastAPI) -> None:
    for _ in range(2):
        assert ask(app, query=b"q=5").body == b'{"q":5}'
        assert ask(app, "/item", "POST", json_body={"name": "n"}).body == b'{"name":"n"}'
        assert ask(app, "/item", "POST", json_body={}).status == 422


def test_the_installed_release_is_known_in_full(app: FastAPI, tiers: Tiers) -> None:
    install()
    assert not state.unknown
    assert state.features == set(FEATURES)
    works(app)
    assert tiers(app)["/"] == tiers(app)["/item"] == "compiled"


def test_an_unknown_release_works_and_one_line_says_so(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "known", dict)
    install()
    assert not state.features
    works(app)
    level, line = installing.start_up_line()
    assert level == logging.WARNING
    assert "off" in line
    assert "\n" not in line


def test_another_python_is_an_unknown_release(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "PYTHON", "3.99")
    fingerprints.known.cache_clear()
    try:
        assert set(fingerprints.unknown_functions()) == set(FEATURES)
        install()
        works(app)
        assert " on Python 3.99 " in installing.start_up_line()[1]
    finally:
        fingerprints.known.cache_clear()


@pytest.mark.parametrize("feature", FEATURES)
def test_a_changed_function_switches_off_what_needs_it_only(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, feature: str
) -> None:
    only = [
        name
        for name in standins.STAND_INS[feature]
        if sum(name in names for names in standins.STAND_INS.values()) == 1
    ]
    changed = {**fingerprints.known(), only[0]: ["0" * 16]}
    monkeypatch.setattr(fingerprints, "known", lambda: changed)
    install()
    assert set(state.unknown) == {feature}
    assert feature not in state.features
    for other in state.features:
        assert feature not in standins.NEEDS.get(other, ())
    expected = {feature}
    for _ in FEATURES:
        expected |= {each for each, needs in standins.NEEDS.items() if expected & set(needs)}
    assert state.features == set(FEATURES) - expected
    works(app)


def test_json_routes_stay_compiled_when_the_reading_of_bodies_has_changed(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, tiers: Tiers
) -> None:
    changed = {**fingerprints.known(), "starlette.requests:Request.json": ["0" * 16]}
    monkeypatch.setattr(fingerprints, "known", lambda: changed)
    install()
    works(app)
    assert tiers(app)["/"] == "compiled"
    assert tiers(app)["/item"] != "compiled"


def test_one_command_shows_what_has_changed() -> None:
    code = (
        "import sys, fastapi.routing as r\n"
        "def serialize_response(**options): return 1\n"
        "r.serialize_response = serialize_response\n"
        "from pronghorn.fastapi.__main__ import main\n"
        "sys.exit(main([]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=TESTS
    )
    assert done.returncode == 1
    assert "fastapi.routing:serialize_response" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 2
    known = subprocess.run(
        [sys.executable, "-m", "pronghorn.fastapi"], capture_output=True, text=True, check=False
    )
    assert known.returncode == 0, known.stdout
