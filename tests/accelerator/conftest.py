"""Each test that takes `accelerated` runs twice: on FastAPI as it is, and on the accelerator.

The assertions are the same, so that they are checked to hold for FastAPI itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pronghorn.fastapi import install, report, uninstall

from accelerator.rewriting import accept

Tiers = Callable[[Any], dict[str, str]]


@pytest.fixture(params=["original", "accelerated"])
def accelerated(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the accelerator is on; it is off again afterwards."""
    uninstall()
    if request.param == "accelerated":
        accept()
        install()
    yield request.param == "accelerated"
    uninstall()


@pytest.fixture
def installed() -> Iterator[None]:
    """The accelerator, for what only it has."""
    uninstall()
    accept()
    install()
    yield
    uninstall()


@pytest.fixture
def tiers() -> Tiers:
    """How each path of an application is run."""
    return lambda app: {each.path: each.tier for each in report(app)}
