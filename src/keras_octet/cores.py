"""The machine's processor and its cores, and running work on all of them."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


@cache
def num_cores() -> int:
    """Cores this process may use: those of its affinity mask, within its cgroup's quota."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or no quota ("max")
        pass
    return cores


# What integer kernels run on, the fastest first, by the names in /proc/cpuinfo.
_VECTORS = {
    "amx_int8": "AMX",
    "avx512_vnni": "AVX512-VNNI",
    "avx_vnni": "AVX-VNNI",
    "avx512bw": "AVX512",
    "avx2": "AVX2",
    "i8mm": "NEON with int8 products of matrices",
    "asimddp": "NEON with dot products",
    "asimd": "NEON",
}
# What tells processors of one name apart, by the names in /proc/cpuinfo: of x86, and of ARM.
_GENERATION = {
    "cpu family": "family",
    "model": "model",
    "stepping": "stepping",
    "CPU implementer": "implementer",
    "CPU part": "part",
    "CPU variant": "variant",
}


@cache
def processor() -> str:
    """The processor's name and, where Linux tells, its generation and its vectors for integers.

    Virtual machines on quite different processors have the same model name.
    """
    info, features = _cpuinfo(), _features()
    name = info.get("model name") or platform.processor() or platform.machine()
    generation = [f"{word} {info[key]}" for key, word in _GENERATION.items() if key in info]
    vectors = next((_VECTORS[feature] for feature in _VECTORS if feature in features), None)
    if generation:
        name += f" ({', '.join(generation)})"
    return f"{name} with {vectors}" if vectors else name


@cache
def multiplies_bytes_exactly() -> bool:
    """Whether the instruction that multiplies bytes adds their products in 32 bits.

    False for x86 processors without VNNI, and where that is not known: theirs adds pairs in 16
    bits, which saturate.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64", "x86", "i686")
    return not x86 or bool(_features() & {"amx_int8", "avx512_vnni", "avx_vnni"})


def _features() -> set[str]:
    return set(_cpuinfo().get("flags", _cpuinfo().get("Features", "")).split())


@cache
def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # not on macOS and Windows
        return {}
    lines = [line.partition(":") for line in text.splitlines()]
    return {key.strip(): value.strip() for key, _, value in reversed(lines)}


def run_on_cores(work: Callable[[], None], num_workers: int) -> None:
    """Call `work` in `num_workers` threads at once, this one among them; wait for all.

    Raises the error of a worker. Meant for work that releases the interpreter lock and takes its
    share from a common iterator.
    """
    # A worker that has not begun when all is done has nothing to do; what waits in the executor's
    # queue until then must not hold on to the data of `work`.
    shared = [work]

    def share() -> None:
        for function in tuple(shared):
            function()

    futures = [_executor().submit(share) for _ in range(num_workers - 1)]
    try:
        work()
    finally:
        waiting = [future for future in futures if not future.cancel()]
        errors = [future.exception() for future in waiting]
        shared.clear()
    for error in errors:
        if error is not None:
            raise error


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(num_cores() - 1, 1), thread_name_prefix="keras_octet")
        return _pool


def _forget_threads() -> None:
    """After a fork the child has none of the parent's threads, and the lock may be held."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
