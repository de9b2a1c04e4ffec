"""Keeps the allocator from returning memory to the system that the next layer needs again."""

import ctypes
import platform

# Of <malloc.h>.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Lets the process keep freed memory; returns whether the C library supports it.

    By default glibc maps each large block anew and unmaps it when it is freed, so that every activation
    starts with page faults: a quarter of a training step on two cores. Programs call this once, before
    their first large tensor; a library does not. Where there is no glibc, nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 * 2**20))
    return sum(libc.mallopt(name, value) for name, value in settings) == len(settings)
