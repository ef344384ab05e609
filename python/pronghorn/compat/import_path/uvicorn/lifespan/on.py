"""`--lifespan on` and `auto`."""

from pronghorn.lifespan import STATE_TRANSITION_ERROR, LifespanOn

__all__ = ["STATE_TRANSITION_ERROR", "LifespanOn"]
