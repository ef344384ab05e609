"""`--loop asyncio`."""

from . import factory_function

asyncio_loop_factory = factory_function("asyncio")
