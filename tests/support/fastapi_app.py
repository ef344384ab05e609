"""A FastAPI application that uses what applications use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

DONE: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, int]]:
    yield {"number": 7}


app = FastAPI(lifespan=lifespan)


class Item(BaseModel):
    name: str
    price: float = Field(gt=0)
    tags: list[str] = []


@app.get("/")
async def home() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/synchronous")
def synchronous() -> dict[str, str]:
    return {"hello": "thread"}


@app.get("/items/{number}")
async def item(
    number: int, q: str | None = None, user_agent: Annotated[str | None, Header()] = None
) -> dict[str, object]:
    return {"number": number, "q": q, "user_agent": user_agent}


@app.post("/items", status_code=201)
async def create(item: Item) -> Item:
    return item


@app.get("/state")
async def state(request: Request) -> int:
    number: int = request.state.number
    return number


async def resource() -> AsyncIterator[str]:
    try:
        yield "resource"
    finally:
        DONE.append("released")


@app.get("/depends")
async def depends(value: Annotated[str, Depends(resource)]) -> str:
    return value


@app.get("/forbid")
async def forbid() -> None:
    raise HTTPException(403, "no entry")


@app.get("/fail")
async def fail() -> None:
    raise ValueError("on purpose")


@app.get("/background/{key}")
async def background(key: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(DONE.append, key)
    return "answered"


@app.get("/done")
async def done() -> list[str]:
    return DONE


@app.post("/upload")
async def upload(file: UploadFile) -> dict[str, object]:
    return {"name": file.filename, "size": len(await file.read())}


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        for number in range(100):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines())


@app.delete("/items/{number}", status_code=204)
async def delete(number: int) -> None:
    return None
