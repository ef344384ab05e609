"""WebSocket applications of frameworks: each echoes texts and bytes at `/echo`."""

from __future__ import annotations

from contextlib import suppress

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.routing import WebSocketRoute

if not settings.configured:
    settings.configure(
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["*"],
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    )
    django.setup()

from django.urls import path

fastapi_app = FastAPI()


@fastapi_app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept(subprotocol="chat")
    with suppress(WebSocketDisconnect):
        while True:
            await socket.send_text(await socket.receive_text())


class StarletteEcho(WebSocketEndpoint):
    encoding = "text"

    async def on_connect(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="chat")

    async def on_receive(self, websocket: WebSocket, data: str) -> None:
        await websocket.send_text(data)


starlette_app = Starlette(routes=[WebSocketRoute("/echo", StarletteEcho)])


class ChannelsEcho(AsyncWebsocketConsumer):
    groups = ("everybody",)

    async def connect(self) -> None:
        await self.accept(subprotocol="chat")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send("everybody", {"type": "say", "text": text_data})

    async def say(self, event: dict[str, str]) -> None:
        await self.send(text_data=event["text"])


channels_app = ProtocolTypeRouter({"websocket": URLRouter([path("echo", ChannelsEcho.as_asgi())])})
