"""Event loops: each module has the function that Uvicorn has there."""

import asyncio
from collections.abc import Callable

from pronghorn.loops import loop_factory

Factory = Callable[[], asyncio.AbstractEventLoop]


def factory_function(name: str) -> Callable[[bool], Factory]:
    """A function that returns the factory of the loop called `name`."""

    def function(use_subprocess: bool = False) -> Factory:
        return loop_factory(name) or asyncio.new_event_loop

    return function
