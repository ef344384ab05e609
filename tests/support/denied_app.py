"""The test application in a process that may not use `io_uring(7)`, as in many containers."""

from __future__ import annotations

import ctypes
import errno
import os

from support.apps import app as app

NUMBER = 425  # of io_uring_setup(2), on every architecture
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM


class Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("operand", ctypes.c_uint),
    )


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("start", ctypes.POINTER(Instruction)))


def deny() -> None:
    """Has the kernel refuse the system call from now on (seccomp(2))."""
    instructions = (Instruction * 4)(
        Instruction(LOAD_WORD, 0, 0, 0),  # the call's number
        Instruction(JUMP_IF_EQUAL, 0, 1, NUMBER),
        Instruction(RETURN, 0, 0, REFUSE),
        Instruction(RETURN, 0, 0, ALLOW),
    )
    program = Program(len(instructions), instructions)
    control = ctypes.CDLL(None, use_errno=True).prctl
    arguments = [(PR_SET_NO_NEW_PRIVS, 1), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER)]
    pointers: list[object] = [0, ctypes.byref(program)]
    for (option, value), pointer in zip(arguments, pointers, strict=True):
        if control(option, value, pointer, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


deny()
