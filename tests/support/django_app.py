"""A Django project in one module, as an ASGI application."""

import asyncio
from collections.abc import AsyncIterator

from django.conf import settings  # type: ignore[import-untyped]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.http import (  # type: ignore[import-untyped]
    FileResponse,
    HttpRequest,
    HttpResponse,
    JsonResponse,
    StreamingHttpResponse,
)
from django.urls import path  # type: ignore[import-untyped]

settings.configure(
    DEBUG=False,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="tests",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    DATA_UPLOAD_MAX_MEMORY_SIZE=20_000_000,
)


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello from Django")


async def asynchronous(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    return JsonResponse({"method": request.method, "query": request.GET.dict()})


def form(request: HttpRequest) -> HttpResponse:
    files = {name: file.size for name, file in request.FILES.items()}
    return JsonResponse({"fields": request.POST.dict(), "files": files})


def body(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body, content_type="application/octet-stream")


def address(request: HttpRequest) -> HttpResponse:
    found = {name: request.META.get(name) for name in ("REMOTE_ADDR", "HTTP_HOST", "QUERY_STRING")}
    return JsonResponse({**found, "path": request.path, "secure": request.is_secure()})


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%d\n" % number
            await asyncio.sleep(0)

    return StreamingHttpResponse(lines())


def fail(request: HttpRequest) -> HttpResponse:
    raise ValueError("on purpose")


def this_file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


urlpatterns = [
    path("", home),
    path("async", asynchronous),
    path("form", form),
    path("body", body),
    path("address", address),
    path("stream", stream),
    path("fail", fail),
    path("file", this_file),
]

app = get_asgi_application()
