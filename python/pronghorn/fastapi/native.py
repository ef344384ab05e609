"""What the accelerator has from the engine: nothing else here imports it.

Two questions that come with every request (`ClassVersions`, `Snapshot`: whether things are as they
were), and two ways round ASGI's messages where the engine is the server and nothing has wrapped
its functions (`respond`, `whole_body`).
"""

from pronghorn._engine import ClassVersions, Snapshot, respond, whole_body

__all__ = ["ClassVersions", "Snapshot", "respond", "whole_body"]
