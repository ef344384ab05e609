"""`--loop auto`."""

from . import factory_function

auto_loop_factory = factory_function("auto")
