"""OpenTelemetry, Sentry and Logfire record the same with the accelerator as without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accelerator.telemetry_app import SETUPS

TESTS = Path(__file__).resolve().parents[1]
# Most of the 78 requests are to routes that can be compiled.
COMPILED_MIN = dict.fromkeys(SETUPS, 40)


def played(setup: str, *options: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "accelerator.telemetry_app", setup, *options],
        cwd=TESTS,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("setup", SETUPS)
def test_records_are_the_same(setup: str) -> None:
    expected = played(setup)
    got = played(setup, "--accelerate")
    for one, other in zip(expected["results"], got["results"], strict=True):
        assert other == one
    assert any(records for *_, records in expected["results"])
    assert got["tiers"]["compiled"] >= COMPILED_MIN[setup], got["tiers"]
