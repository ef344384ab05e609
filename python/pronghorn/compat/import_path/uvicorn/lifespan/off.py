"""`--lifespan off`."""

from pronghorn.lifespan import LifespanOff

__all__ = ["LifespanOff"]
