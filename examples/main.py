"""A small FastAPI application: `pronghorn main:app --app-dir examples`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, datetime]]:
    yield {"started_at": datetime.now(UTC)}


app = FastAPI(title="Pronghorn example", lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float


@app.get("/")
async def hello() -> dict[str, str]:
    return {"message": "Hello, world!"}


@app.get("/uptime")
async def uptime(request: Request) -> dict[str, float]:
    return {"seconds": (datetime.now(UTC) - request.state.started_at).total_seconds()}


@app.post("/items")
async def create_item(item: Item) -> Item:
    return item


@app.get("/count/{last}")
async def count(last: int) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(1, last + 1):
            yield f"{number}\n"

    return StreamingResponse(lines(), media_type="text/plain")
