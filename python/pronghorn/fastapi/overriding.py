"""What a compiled route does when one of its dependencies overrides those that follow.

FastAPI asks for `dependency_overrides` before each dependency. Overrides that are there when a
request comes make the whole route run through FastAPI's code; those that appear while it is under
way are met here: the dependencies that are left are solved by FastAPI's own function, one by one.
"""

from __future__ import annotations

from typing import Any

from fastapi.dependencies import utils
from fastapi.dependencies.models import Dependant
from fastapi.routing import _build_response_args
from fastapi.utils import is_body_allowed_for_status_code
from starlette.responses import Response


class Solved:
    """What `_build_response_args` reads."""

    __slots__ = ("background_tasks", "response")

    def __init__(self, response: Any, background_tasks: Any) -> None:
        self.response = response
        self.background_tasks = background_tasks


class Overridden:
    """The rest of the dependencies of one request."""

    def __init__(
        self,
        request: Any,
        provider: Any,
        stack: Any,
        embed_body_fields: bool,
        body: Any,
        background: Any,
        response: Any,
    ) -> None:
        self.background = background
        self._request = request
        self._provider = provider
        self._stack = stack
        self._embed_body_fields = embed_body_fields
        self._body = body
        self._response = response
        self._cache: dict[Any, Any] = {}

    def remember(self, solved: list[tuple[Any, Any]], missing: Any) -> None:
        """Take over the results of what has been called so far."""
        for key, value in solved:
            if value is not missing:
                self._cache.setdefault(key, value)

    async def solve(self, dependant: Dependant, errors: list[Any]) -> Any:
        """The value of one dependency."""
        solved = await utils.solve_dependencies(
            request=self._request,
            dependant=Dependant(dependencies=[dependant]),
            body=self._body,
            background_tasks=self.background,
            response=self._response,
            dependency_overrides_provider=self._provider,
            dependency_cache=self._cache,
            async_exit_stack=self._stack,
            embed_body_fields=self._embed_body_fields,
        )
        errors.extend(solved.errors)
        self.background, self._response = solved.background_tasks, solved.response
        return solved.values.get(dependant.name) if dependant.name else None

    def respond(self, content: bytes, status_code: int | None, background: Any) -> Response:
        """The response for content that is JSON already."""
        stub: Any = self._response
        arguments = _build_response_args(
            status_code=status_code, solved_result=Solved(stub, background)
        )
        response = Response(content=content, media_type="application/json", **arguments)
        if not is_body_allowed_for_status_code(response.status_code):
            response.body = b""
        response.headers.raw.extend(stub.headers.raw)
        return response
