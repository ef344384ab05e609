"""`--loop zuvloop`."""

from . import factory_function

zuvloop_loop_factory = factory_function("zuvloop")
