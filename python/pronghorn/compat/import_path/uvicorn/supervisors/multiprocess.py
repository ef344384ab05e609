"""Several workers."""

from pronghorn.supervisors.multiprocess import Multiprocess
from pronghorn.supervisors.process import Process
from pronghorn.supervisors.signals import SIGNALS

__all__ = ["SIGNALS", "Multiprocess", "Process"]
