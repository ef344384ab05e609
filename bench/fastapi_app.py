"""The FastAPI application of the `fastapi` and `startup-fastapi` cases: one route.

The servers import it as `fastapi_app:app` from this directory.
"""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def root() -> dict[str, str]:
    """A small JSON object."""
    return {"message": "Hello, world!"}
