"""Several workers."""

from pronghorn.supervisors.multiprocess import Multiprocess
from pronghorn.supervisors.process import Process

__all__ = ["Multiprocess", "Process"]
