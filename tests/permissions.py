"""Calls whose files have permissions that count, also where root runs the tests."""

import concurrent.futures
import ctypes
import os

_VERSION_3 = 0x20080522  # of Linux's structures of capabilities: twice effective, permitted, inheritable
_OVERRIDING = 0b110  # may write whatever the permissions say (bit 1), and read and search (bit 2)


def as_its_owner(function, /, *arguments, **keywords):
    """Call a function in a thread that may open what a file's owner may, and return what it returns or raises."""
    with concurrent.futures.ThreadPoolExecutor(1, initializer=_give_up_what_root_may) as thread:
        return thread.submit(function, *arguments, **keywords).result()


def _give_up_what_root_may():
    """Lower the capabilities of this thread alone, and of those that it starts."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    this_thread, held = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(this_thread, held):
        raise OSError(ctypes.get_errno(), "capget")
    for field in (0, 1):  # effective; and permitted, which counts where a file is asked about and not opened
        held[field] &= ~_OVERRIDING
    if libc.capset(this_thread, held):
        raise OSError(ctypes.get_errno(), "capset")
