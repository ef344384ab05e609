"""Source that the generated applications have in common."""

PROLOGUE = """\
from accelerator.user_code import *
from accelerator.play import patch, unpatch

calls = 0


async def gate(x_gate: Annotated[str | None, Header()] = None):
    note("gate", x_gate)
    if x_gate == "closed":
        raise HTTPException(403, "closed")
    return x_gate


def handled_status(request: Request, error: Exception):
    note("handler.418", error)
    return PlainTextResponse("418", 418)


async def instead(x_instead: Annotated[str, Header()] = "i"):
    note("instead", x_instead)
    return "instead"


def instead_sync(q_instead: int = 1):
    note("instead_sync", q_instead)
    return q_instead


async def instead_yield():
    note("instead_yield.enter")
    try:
        yield "yielded"
    finally:
        note("instead_yield.exit")


@asynccontextmanager
async def lifespan(app):
    note("lifespan.start")
    yield {"kept": 1}
    note("lifespan.stop")
"""

# A decorator that an endpoint may have.
DECORATOR = """\
def wraps_{name}(function):
    if inspect.iscoroutinefunction(function):
        @functools.wraps(function)
        async def wrapper(*args, **kwargs):
            note("decorator {name}", sorted(kwargs))
            return await function(*args, **kwargs)
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return function
    else:
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            note("decorator {name}", sorted(kwargs))
            return function(*args, **kwargs)
    return wrapper"""
