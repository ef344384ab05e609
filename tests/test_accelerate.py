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
