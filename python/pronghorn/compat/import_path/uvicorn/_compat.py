"""What differs between versions of Python; of those that Pronghorn supports, little does."""

import asyncio
from collections.abc import Callable, Coroutine
from inspect import iscoroutinefunction
from typing import Any, TypeVar

T = TypeVar("T")


def asyncio_run(
    main: Coroutine[Any, Any, T],
    *,
    debug: bool = False,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """`asyncio.run`, which takes a `loop_factory` from Python 3.12 on."""
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)


__all__ = ["asyncio_run", "iscoroutinefunction"]
