"""Settings of x264, by which the same frames always give the same bytes."""

import torch


def x264_params() -> str:
    """Returns the ``x264-params`` of every H.264 encoder.

    Threads would make a file depend on the number of cores. And x264's code for AVX512 reads uninitialised
    memory, so that one file in forty differs; its code for AVX2 is as fast.
    """
    has_avx512 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return "threads=1:asm=avx2" if has_avx512 else "threads=1"
