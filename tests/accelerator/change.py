"""Makes the changes that a case does to its application after the first requests.

Routes come, go and move, dependencies are overridden, endpoints and whole applications replaced,
middlewares added, and functions of the libraries patched and restored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from accelerator import vocabulary as words

if TYPE_CHECKING:
    from accelerator.generate import Maker


def change_for(maker: Maker) -> str:
    """Source that changes the running application."""
    names = maker.dependencies or ["gate"]
    index = maker.random.randrange(8)
    router = maker.one(maker.routers)[0] if maker.routers else "app.router"
    extra = maker.name("late")
    facts = maker.one(maker.routes)
    target = maker.one(words.PATCHES)
    return str(
        maker.one(
            (
                f"app.dependency_overrides[{maker.one(names)}] = instead",
                f"app.dependency_overrides[{maker.one(names)}] = instead_yield",
                f"app.dependency_overrides[{maker.one(names)}] = instead_sync",
                "app.dependency_overrides = {gate: lambda: note('override')}",
                "app.dependency_overrides.clear()",
                f"del app.router.routes[{index} % len(app.router.routes)]",
                f"app.router.routes.insert(0, app.router.routes[{index} % len(app.router.routes)])",
                "app.router.routes.reverse()",
                f"@app.get({facts.path!r})\nasync def {extra}(q: int = 1):\n"
                f"    note('{extra}')\n    return {{'late': q}}\n"
                "app.router.routes.insert(0, app.router.routes.pop())",
                f"@{router}.get('/late/{{x}}')\ndef {extra}(x: int):\n    return x",
                f"route = api_routes(app)[{index} % len(api_routes(app))]\n"
                "async def wrapping(scope, receive, send, inner=route.app):\n"
                "    note('wrapped app')\n    await inner(scope, receive, send)\n"
                "route.app = wrapping",
                f"route = api_routes(app)[{index} % len(api_routes(app))]\n"
                "before = route.dependant.call\n@functools.wraps(before)\n"
                "async def replaced(*args, **kwargs):\n    note('replaced')\n"
                "    return {'replaced': True}\nroute.dependant.call = replaced",
                "app.user_middleware.insert(0, Middleware(PureMiddleware, name='late'))\n"
                "app.middleware_stack = app.build_middleware_stack()",
                "app.exception_handlers[ValueError] = handled_status\n"
                "app.middleware_stack = app.build_middleware_stack()",
                "app.exception_handlers[HandledError] = handled_status",
                "app.root_path = '/late'",
                "app.router.redirect_slashes = not app.router.redirect_slashes",
                "async def default(scope, receive, send):\n    note('default')\n"
                "    await PlainTextResponse('default', 599)(scope, receive, send)\n"
                "app.router.default = default",
                f"app.router.routes[{index} % len(app.router.routes)].methods = {{'PUT'}}",
                f"api_routes(app)[{index} % len(api_routes(app))].path_regex = "
                "__import__('re').compile('^/elsewhere$')",
                "app.debug = not app.debug",
                f"patch({target!r})",
                f"patch({maker.one(words.PATCHES)!r})",
                f"patch({maker.one(words.PATCHES)!r})",
                "unpatch()",
                "unpatch()",
            )
        )
    )
