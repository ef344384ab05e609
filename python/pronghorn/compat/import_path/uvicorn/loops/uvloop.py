"""`--loop uvloop`."""

from . import factory_function

uvloop_loop_factory = factory_function("uvloop")
