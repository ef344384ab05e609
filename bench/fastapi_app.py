"""The FastAPI applications of the `fastapi` cases: what applications are made of, one route a case.

The servers import them as `fastapi_app:app` and by other names from this directory.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from pydantic import BaseModel

ROUTERS = 10
ROUTES_PER_ROUTER = 10

app = FastAPI()


class Item(BaseModel):
    """What is posted and comes back."""

    name: str
    price: float
    tags: list[str] = []


@app.get("/")
async def root() -> dict[str, str]:
    """A small JSON object."""
    return {"message": "Hello, world!"}


@app.get("/items/{number}")
async def item(number: int, q: str | None = None) -> dict[str, object]:
    """A typed path and query."""
    return {"number": number, "q": q}


@app.post("/items")
async def create(item: Item) -> Item:
    """A pydantic body and response."""
    return item


async def resource() -> AsyncIterator[str]:
    """The inner dependency, which has an exit."""
    yield "resource"


async def user(resource: Annotated[str, Depends(resource)]) -> str:
    """The outer dependency."""
    return f"{resource} of the user"


@app.get("/depends")
async def depends(user: Annotated[str, Depends(user)]) -> dict[str, str]:
    """Two levels of dependencies."""
    return {"user": user}


@app.get("/thread")
def thread() -> dict[str, str]:
    """Runs in a worker thread."""
    return {"message": "Hello, world!"}


with_middleware = FastAPI()
with_middleware.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)
with_middleware.get("/")(root)


@with_middleware.middleware("http")
async def add_header(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    """The inner of two middlewares."""
    response = await call_next(request)
    response.headers["x-served"] = "1"
    return response


with_routers = FastAPI()
for router_number in range(ROUTERS):
    router = APIRouter(prefix=f"/api/{router_number}")
    for route_number in range(ROUTES_PER_ROUTER):

        @router.get(f"/things/{route_number}/{{number}}")
        async def thing(number: int) -> dict[str, int]:
            """One of a hundred."""
            return {"number": number}

    with_routers.include_router(router)
