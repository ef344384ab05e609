"""`--preload`: the application is imported once, in the parent, and workers are forked from it.

They start at once and share the memory of what was imported. What cannot be forked is not: on
systems whose libraries break after a fork, or when importing the application has started threads,
workers are spawned as usual and a warning says so.
"""

import copy
import gc
import logging
import multiprocessing
import sys
import threading
from multiprocessing.context import BaseContext

from pronghorn.config import Config

logger = logging.getLogger("pronghorn.error")


def fork_context(config: Config) -> BaseContext | None:
    """Import the application; how to make workers from here, None if that is not safe."""
    if sys.platform != "linux":
        logger.warning("This platform cannot fork safely: each worker imports the application.")
        return None
    # On a copy: what is loaded could not be handed to processes that are not forked.
    loaded = copy.copy(config)
    loaded.load()
    if threading.active_count() > 1:
        logger.warning(
            "The application starts threads when it is imported, which a fork would not have: "
            "each worker imports it again."
        )
        return None
    vars(config).update(vars(loaded))
    # What exists now is not looked at by the workers' collectors, which would copy its pages.
    gc.collect()
    gc.freeze()
    return multiprocessing.get_context("fork")
