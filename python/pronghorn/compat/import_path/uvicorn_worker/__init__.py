"""The package `uvicorn-worker`, on Pronghorn."""

from pronghorn.workers import PronghornH11Worker, PronghornWorker

UvicornWorker = PronghornWorker
UvicornH11Worker = PronghornH11Worker

__all__ = ["UvicornH11Worker", "UvicornWorker"]
