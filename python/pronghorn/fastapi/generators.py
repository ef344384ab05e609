"""Dependencies that are async generators: `_solve_generator` with fewer layers.

FastAPI wraps such a dependency in a context manager, that in another one which shields its exit
from cancellation, and enters the two in an exit stack. Here the first is entered and its exit put
on the stack by hand, within the same cancel scope, which is entered for the first of a request.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled


async def enter(manager: Any, stack: Any, request_stack: AsyncExitStack, scope: Any) -> Any:
    """The value of a dependency, whose exit is left on `stack`."""
    scopes = scope.setdefault("fastapi_async_cleanup_scopes", {})
    cleanup = scopes.get(request_stack)
    if cleanup is None:
        cleanup = request_stack.enter_context(CancelScope())
        scopes[request_stack] = cleanup
        request_stack.callback(scopes.pop, request_stack)
    shielded = _Shielded(manager, cleanup)
    value = await manager.__aenter__()
    stack.push_async_exit(shielded)
    return value


class _Shielded:
    """The exit of a dependency, which no cancellation interrupts."""

    __slots__ = ("_cleanup", "_manager", "_was_shielded")

    def __init__(self, manager: Any, cleanup: Any) -> None:
        self._manager = manager
        self._cleanup = cleanup
        self._was_shielded = cleanup.shield

    async def __aexit__(self, kind: Any, error: Any, traceback: Any) -> Any:
        """Leave the dependency; a cancellation that it has held up counts afterwards."""
        cleanup = self._cleanup
        cleanup.shield = True
        try:
            is_swallowed = await self._manager.__aexit__(kind, error, traceback)
        finally:
            cleanup.shield = self._was_shielded
        if error is None or is_swallowed:
            await checkpoint_if_cancelled()
        return is_swallowed
