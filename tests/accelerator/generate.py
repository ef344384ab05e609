"""Makes an application and what is done to it from a seed.

Out: a `Case`, whose source is a list of parts (so that a failing case can be made smaller by
leaving parts out) and whose actions are requests, WebSocket sessions and changes to the running
application. The same seed gives the same case on every machine. `play` runs it, `fuzz` compares.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import Any

from accelerator import vocabulary as words
from accelerator.change import change_for
from accelerator.prologue import DECORATOR, PROLOGUE
from accelerator.send import request_for, websocket_for
from accelerator.signatures import argument_name, has_default, split_parameters

METHODS = ("get", "get", "get", "get", "post", "post", "post", "put", "delete", "patch", "head",
           "options", "trace")  # fmt: skip


@dataclass
class RouteFacts:
    """What a request needs to know of a route: where it is and what it takes."""

    path: str
    method: str
    parameters: list[tuple[str, str, words.Parameter]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    body: str = ""
    websocket: bool = False
    names: list[str] = field(default_factory=list)


@dataclass
class Case:
    seed: int
    parts: list[str]
    actions: list[dict[str, Any]]
    backend: str = "asyncio"

    @property
    def source(self) -> str:
        return "\n\n".join([PROLOGUE, *self.parts])

    def smaller(self, parts: list[str], actions: list[dict[str, Any]]) -> Case:
        return Case(self.seed, parts, actions, self.backend)


def make_case(seed: int, requests: int = 25, trio: bool = False) -> Case:
    maker = Maker(random.Random(seed))
    parts = maker.application()
    actions = maker.actions(requests)
    backend = "trio" if trio and maker.random.random() < 0.15 else "asyncio"
    return Case(seed, parts, actions, backend)


class Maker:
    def __init__(self, chance: random.Random) -> None:
        self.random = chance
        self.dependencies: list[str] = []
        self.facts_of: dict[str, RouteFacts] = {}
        self.routes: list[RouteFacts] = []
        self.endpoints: list[str] = []
        self.routers: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.count = 0

    def one(self, rows: Any) -> Any:
        return self.random.choice(rows)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    # The application, part by part

    def application(self) -> list[str]:
        parts = [self.dependency() for _ in range(self.one((0, 1, 2, 3, 5)))]
        options = {self.one(words.APP_OPTIONS) for _ in range(self.one((0, 1, 1, 2)))} - {""}
        parts.append(f"app = FastAPI({', '.join(sorted(options))})")
        for _ in range(self.one((1, 2, 4, 7))):
            parts += self.route("app", "")
        for _ in range(self.one((0, 0, 1, 2))):
            parts += self.router("app", "", 2)
        if self.chance(0.2):
            parts += self.shadowed()
        if self.chance(0.25):
            parts += self.mount()
        for _ in range(self.one((0, 1, 3))):
            parts += self.route("app", "")
        parts += [self.one(words.MIDDLEWARES) for _ in range(self.one((0, 0, 0, 1, 1, 2, 3)))]
        parts += [self.one(words.HANDLERS) for _ in range(self.one((0, 0, 1, 3, 5)))]
        parts += [words.SHOWING_HANDLER] if self.chance(0.2) else []
        return parts

    def dependency(self) -> str:
        name = self.name("dep")
        facts = RouteFacts("", "")
        signature = self.signature(facts, path=(), body=False, most=2)
        kind = self.one(("async", "async", "def", "agen", "agen", "gen", "class", "callable",
                         "async callable", "partial", "contextvar"))  # fmt: skip
        self.facts_of[name] = facts
        self.dependencies.append(name)
        self.names.add(f"{name}.enter")
        facts.names.append(f"{name}.enter")
        return self.body_of_dependency(name, kind, signature, facts)

    def body_of_dependency(self, name: str, kind: str, signature: str, facts: RouteFacts) -> str:
        seen = f"seen = [{', '.join(self.arguments(signature))}]"
        effects = self.effects(signature, name)
        enter = f'note("{name}.enter", *seen)'
        value = self.one((f'"{name}"', "seen", "len(seen)", "None", f'{{"{name}": seen}}'))
        if kind in ("agen", "gen"):
            facts.names += [f"{name}.exit", f"{name}.error"]
            word = "async def" if kind == "agen" else "def"
            wait = f'    await pause("{name}.pause")\n' if kind == "agen" else ""
            after = self.one(
                (
                    "",
                    f'    except HTTPException as error:\n        note("{name}.error", error)\n'
                    "        raise\n",
                    f'    except Exception as error:\n        note("{name}.error", error)\n'
                    "        raise\n",
                    f'    except ValueError as error:\n        note("{name}.error", error)\n'
                    "        raise HTTPException(409, 'from dependency') from error\n",
                    f'    except PlannedError as error:\n        note("{name}.error", error)\n',
                    f'    except BaseException as error:\n        note("{name}.error", error)\n'
                    "        raise\n",
                )
            )
            return (
                f"{word} {name}({signature}):\n    {seen}\n    {enter}\n{wait}{effects}"
                f'    colour_context.set("{name}")\n'
                f"    try:\n        yield {value}\n{after}"
                f'    finally:\n        note("{name}.exit")\n'
                + (f'        await pause("{name}.after")\n' if kind == "agen" else "")
            )
        if kind == "class":
            return (
                f"class {name}:\n    def __init__(self{', ' if signature else ''}{signature}):\n"
                f"        {seen}\n        {enter}\n        self.value = {value}\n"
            )
        if kind in ("callable", "async callable"):
            word = "async def" if kind.startswith("async") else "def"
            return (
                f"class Of{name}:\n    {word} __call__(self{', ' if signature else ''}"
                f"{signature}):\n        {seen}\n        {enter}\n        return {value}\n\n\n"
                f"{name} = Of{name}()"
            )
        if kind == "partial":
            return (
                f"def plain_{name}(fixed{', ' if signature else ''}{signature}):\n    {seen}\n"
                f"    {enter}\n    return fixed\n\n\n"
                f"{name} = functools.partial(plain_{name}, 7)"
            )
        word = "def" if kind == "def" else "async def"
        wait = f'    await pause("{name}.pause")\n' if word == "async def" else ""
        if kind == "contextvar":
            effects += f'    colour_context.set("{name}")\n'
        return (
            f"{word} {name}({signature}):\n    {seen}\n    {enter}\n{wait}{effects}"
            f"    return {value}"
        )

    def signature(
        self,
        facts: RouteFacts,
        path: tuple[tuple[str, words.Parameter], ...],
        body: bool,
        most: int,
    ) -> str:
        """Parameters of every kind, those without a default first."""
        rows: list[str] = []
        for name, parameter in path:
            rows.append(parameter.code.format(n=name))
            facts.parameters.append(("path", name, parameter))
        for _ in range(self.random.randint(0, most)):
            rows.append(self.parameter(facts))
        if body:
            rows += self.body(facts)
        for _ in range(self.one((0, 0, 0, 1, 1, 2))):
            rows.append(self.one(words.SPECIAL).format(n=self.name("s")))
        for _ in range(self.one((0, 0, 1, 1, 2)) if self.dependencies else 0):
            rows.append(self.depends(facts))
        if self.chance(0.08):
            scheme, header = self.one(words.SECURITY)
            facts.headers.append(header)
            rows.append(f"{self.name('auth')}=Security({scheme}, scopes=['a'])")
        return ", ".join(sorted(rows, key=has_default))

    def parameter(self, facts: RouteFacts) -> str:
        place, rows = self.one(
            (("query", words.QUERY),) * 4
            + (("header", words.HEADER),) * 2
            + (("cookie", words.COOKIE),)
        )
        name, parameter = self.name(f"{place[0]}_"), self.one(rows)
        facts.parameters.append((place, name, parameter))
        return str(parameter.code.format(n=name))

    def body(self, facts: RouteFacts) -> list[str]:
        kind = self.one(("json",) * 7 + ("two", "form", "form", "file", "none"))
        name = "b0"
        if kind == "json":
            parameter = self.one(words.BODY) if self.chance(0.7) else words.BODY[0]
            facts.parameters.append(("body", name, parameter))
            return [parameter.code.format(n=name)]
        if kind == "two":
            facts.parameters.append(("bodies", name, words.BODY[0]))
            code = self.one(words.TWO_BODIES).format(n=name)
            facts.body = "two"
            return split_parameters(code)
        if kind in ("form", "file"):
            facts.body = kind
            rows = []
            for index in range(self.one((1, 2))):
                source = words.FORM if kind == "form" or index else words.FILE
                parameter, field_name = self.one(source), f"f{index}"
                facts.parameters.append(("form", field_name, parameter))
                rows.append(parameter.code.format(n=field_name))
            return rows
        return []

    def depends(self, facts: RouteFacts) -> str:
        dependency = self.one(self.dependencies)
        inner = self.facts_of[dependency]
        facts.parameters += inner.parameters
        facts.headers += inner.headers
        facts.names += inner.names
        options = self.one(
            ("", "", "", "", ", use_cache=False", ', scope="function"', ', scope="request"')
        )
        call = f"Depends({dependency}{options})"
        if self.chance(0.1):
            call = f"Security({dependency}, scopes=['r', 'w'])"
        name = self.name("d")
        if self.chance(0.3):
            return f"{name}: Annotated[Any, {call}]"
        return f"{name}={call}"

    def effects(self, signature: str, name: str) -> str:
        """What a function does with the special parameters that it has."""
        lines = []
        for parameter in split_parameters(signature):
            own, _, kind = parameter.partition(": ")
            if kind == "Response":
                lines.append(
                    self.one(
                        (
                            f'{own}.headers["X-{name}"] = "set"',
                            f'{own}.set_cookie("{name}", "v", path="/x")',
                            f"{own}.status_code = 207",
                            f'{own}.headers["content-type"] = "text/own"',
                            f'{own}.headers.append("x-many", "{name}")',
                        )
                    )
                )
            elif kind == "BackgroundTasks":
                lines.append(
                    self.one(
                        (
                            f'{own}.add_task(note, "background {name}", 1)',
                            f'{own}.add_task(pause, "background {name}")',
                        )
                    )
                )
                self.names.add(f"background {name}")
            elif kind in ("Request", "HTTPConnection"):
                lines.append(
                    self.one(
                        (
                            f"note('{name}.scope', sorted({own}.scope), seen_in({own}.scope))",
                            f'{own}.state.{name} = "state"',
                            f"note('{name}.url', str({own}.url), {own}.headers.raw)",
                            f"note('{name}.query', {own}.query_params.multi_items())",
                            f"note('{name}.same', {own} is {own}, type({own}).__name__)",
                        )
                    )
                )
        return "".join(f"    {line}\n" for line in lines)

    def arguments(self, signature: str) -> list[str]:
        return [argument_name(parameter) for parameter in split_parameters(signature)]

    def endpoint(
        self, facts: RouteFacts, signature: str, name: str, annotation: str, value: str
    ) -> str:
        """The function of a route (without its decorator)."""
        facts.names += [f"{name}.enter"]
        self.endpoints.append(name)
        seen = f"seen = [{', '.join(self.arguments(signature))}]"
        effects = self.effects(signature, name)
        # What two requests are given by default must not be the same object.
        has_mutable = any(each in signature for each in ("= []", "= ['d']", "= Item("))
        if self.chance(0.7 if has_mutable else 0.2):
            effects += "    grow(*seen)\n"
        if not value or self.chance(0.15):
            value = self.one(words.RETURNS)
        kind = self.one(("async",) * 6 + ("def",) * 3 + ("stream", "jsonl"))
        if "Request" in signature and kind == "async" and self.chance(0.3):
            own = next(p.partition(":")[0] for p in split_parameters(signature) if "Request" in p)
            effects += self.one(
                (
                    f"    note('{name}.body', await {own}.body())\n",
                    f"    note('{name}.disconnected', await {own}.is_disconnected())\n",
                    f"    note('{name}.form', type(await {own}.form()).__name__)\n",
                )
            )
        if kind == "jsonl":
            word = self.one(("async def", "def"))
            noting = f"    note('{name}.enter', *seen)\n"
            if word == "def":
                # A plain generator runs beside the loop: what it noted would come in any order.
                noting, effects = "", re.sub(r" *note\(.*\n", "", effects)
            return (
                f"{word} {name}({signature}):\n    {seen}\n{noting}"
                f"{effects}    yield result({value})\n    yield {{}}"
            )
        if kind == "stream":
            return (
                f"async def {name}({signature}):\n    {seen}\n    note('{name}.enter', *seen)\n"
                f"{effects}    async def chunks():\n        for n in range(3):\n"
                f"            note('{name}.chunk', n)\n            yield f'chunk {{n}}'\n"
                f"    return StreamingResponse(chunks(), media_type='text/plain')"
            )
        word = "def" if kind == "def" else "async def"
        wait = f'    await pause("{name}.pause")\n' if kind == "async" else ""
        return (
            f"{word} {name}({signature}){annotation}:\n    {seen}\n"
            f"    note('{name}.enter', *seen)\n{wait}{effects}    return result({value})"
        )

    def path(self) -> tuple[str, tuple[tuple[str, words.Parameter], ...]]:
        segments, found = [], []
        for _ in range(self.one((0, 1, 1, 2, 2, 3))):
            if self.chance(0.45):
                name, parameter = self.name("p"), self.one(words.PATH)
                found.append((name, parameter))
                fixed = self.one(("",) * 8 + ("v", ".json"))
                segments.append(f"{{{name}{parameter.convertor}}}{fixed}")
            else:
                segments.append(self.one(("a", "b", "items", "a.b", "x-y", "ü", "a b", "me")))
        text = "/" + "/".join(segments) + self.one(("",) * 6 + ("/",))
        return ("/" if text == "//" else text), tuple(found)

    def route(self, owner: str, prefix: str) -> list[str]:
        kind = self.random.random()
        if kind < 0.05:
            return [self.starlette_route(owner, prefix)]
        if kind < 0.1:
            return [self.websocket_route(owner, prefix)]
        path, parameters = self.path()
        method = self.one(METHODS)
        name = self.name("end")
        facts = RouteFacts(prefix + path, method.upper())
        signature = self.signature(facts, parameters, method in ("post", "put", "patch"), 3)
        options = self.one(words.ROUTE_OPTIONS) if self.chance(0.55) else ""
        also = self.one(words.ROUTE_OPTIONS) if self.chance(0.4) else ""
        if also.partition("=")[0] not in options:
            options = ", ".join(filter(None, (options, also)))
        annotation = self.one(words.ANNOTATIONS)
        function = self.endpoint(facts, signature, name, annotation, fitting(options, annotation))
        options = f", {options}" if options else ""
        self.routes.append(facts)
        if self.chance(0.08):
            methods = [method.upper(), self.one(METHODS).upper()]
            line = f"@{owner}.api_route({path!r}, methods={methods}{options})"
        else:
            line = f"@{owner}.{method}({path!r}{options})"
        decorator = self.one(("",) * 9 + (DECORATOR,))
        if decorator:
            return [f"{decorator.format(name=name)}\n\n\n{line}\n@wraps_{name}\n{function}"]
        return [f"{line}\n{function}"]

    def shadowed(self) -> list[str]:
        """A route whose path the next one matches as well."""
        self.routes.append(RouteFacts("/same", "GET"))
        return [
            "@app.get('/same')\nasync def same():\n    note('same')\n    return 'same'",
            "@app.get('/{other}')\nasync def other(other: str):\n    note('other', other)\n"
            "    return other",
        ]

    def starlette_route(self, owner: str, prefix: str) -> str:
        path, parameters = self.path()
        name = self.name("plain")
        facts = RouteFacts(prefix + path, "GET")
        facts.parameters = [("path", own, parameter) for own, parameter in parameters]
        facts.names.append(f"{name}.enter")
        self.routes.append(facts)
        word = self.one(("async def", "def"))
        return (
            f"{word} {name}(request):\n    note('{name}.enter', request.path_params)\n"
            f"    return PlainTextResponse('plain')\n\n\n"
            f"{owner}.add_route({path!r}, {name}, methods={self.one((['GET'], ['POST', 'GET']))})"
        )

    def websocket_route(self, owner: str, prefix: str) -> str:
        path, parameters = self.path()
        name = self.name("ws")
        facts = RouteFacts(prefix + path, "GET", websocket=True)
        signature = self.signature(facts, parameters, body=False, most=2)
        signature = ", ".join(
            part for part in split_parameters(signature)
            if not part.endswith((": Request", ": Response", ": BackgroundTasks"))
        )  # fmt: skip
        facts.names.append(f"{name}.enter")
        self.routes.append(facts)
        return (
            f"@{owner}.websocket({path!r})\n"
            f"async def {name}(websocket: WebSocket{', ' if signature else ''}{signature}):\n"
            f"    await websocket.accept()\n"
            f"    note('{name}.enter', {', '.join(self.arguments(signature))})\n"
            f"    note('{name}.scope', sorted(websocket.scope), seen_in(websocket.scope))\n"
            f"    text = await websocket.receive_text()\n"
            f"    await websocket.send_text(text.upper())\n"
            f"    await websocket.close(4000, 'bye')"
        )

    def router(self, owner: str, prefix: str, depth: int) -> list[str]:
        name = self.name("router")
        own_prefix = self.one(("", "/r", "/items", f"/{{t{name}}}", "/v1"))
        include_prefix = self.one(("", "/inc", "/a", f"/{{u{name}}}")) if own_prefix else "/inc"
        options = [f"prefix={own_prefix!r}"] if own_prefix else []
        options += [self.one(("", "", "", "dependencies=[Depends(gate)]",
                              "default_response_class=TypedResponse", "route_class=WrappingRoute",
                              "route_class=PlainRoute", "tags=['r']", "redirect_slashes=False",
                              "**given(APIRouter, max_body_size=25)"))]  # fmt: skip
        options = [option for option in options if option]
        whole = prefix + include_prefix + own_prefix
        parts = [f"{name} = APIRouter({', '.join(options)})"]
        for _ in range(self.one((1, 2, 4))):
            parts += self.route(name, whole)
        if depth > 1 and self.chance(0.4):
            parts += self.router(name, whole, depth - 1)
        arguments = [f"prefix={include_prefix!r}"] if include_prefix else []
        arguments.append(
            self.one(
                (
                    "",
                    "",
                    "",
                    "dependencies=[Depends(gate)]",
                    "include_in_schema=False",
                    "default_response_class=UpperResponse",
                )
            )
        )
        joined = ", ".join([name, *(argument for argument in arguments if argument)])
        self.routers.append((name, whole))
        parts.append(f"{owner}.include_router({joined})")
        if self.chance(0.1):
            parts.append(f"{owner}.include_router({name}, prefix='/again')")
        return parts

    def mount(self) -> list[str]:
        name = self.name("sub")
        prefix = self.one(("/m", "/m/n", "", "/{tenant}"))
        kind = self.one(("FastAPI", "FastAPI", "Starlette", "asgi"))
        if kind == "asgi":
            return [
                f"async def {name}(scope, receive, send):\n    note('{name}', sorted(scope))\n"
                f"    await PlainTextResponse('asgi')(scope, receive, send)\n\n\n"
                f"app.mount({prefix!r}, {name})"
            ]
        parts = [f"{name} = {kind}()"]
        if kind == "FastAPI":
            for _ in range(self.one((1, 3))):
                parts += self.route(name, prefix)
            if self.chance(0.3):
                parts.append(f"{name}.add_middleware(PureMiddleware, name='{name}')")
        else:
            parts.append(self.starlette_route(name, prefix))
        return [*parts, f"app.mount({prefix!r}, {name})"]

    # What is done to it

    def actions(self, requests: int) -> list[dict[str, Any]]:
        actions: list[dict[str, Any]] = []
        asked: list[dict[str, Any]] = []
        changing = self.chance(0.45)
        if self.chance(0.2):
            actions.append({"do": "lifespan"})
        # Several requests to a route, so that both its first and its later calls are seen.
        while len(actions) < requests:
            facts = self.one(self.routes)
            if facts.websocket:
                actions.append(websocket_for(self.random, facts))
                continue
            for _ in range(self.one((1, 2, 3))):
                asked.append(request_for(self.random, facts))
                actions.append(asked[-1])
            if changing and self.chance(0.3):
                actions.append({"do": "change", "code": change_for(self)})
                # Whether it is seen shows where it counts: at what has been in use.
                actions += self.random.choices(asked, k=2)
        return actions


def fitting(options: str, annotation: str) -> str:
    """A value that the response model of a route accepts, "" where any will do."""
    declared = re.search(r"response_model=(\w+(?:\[[^]]*\])?)", options)
    name = declared[1] if declared else annotation.removeprefix(" -> ")
    if not declared and "response_class=Plain" in options:
        return "'text'"
    return words.FITTING.get(name.partition("[")[0] if "Page" in name else name, "")
