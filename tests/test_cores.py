"""What is said of the machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from keras_octet import cores

X86 = """processor\t: 0
cpu family\t: 26
model\t\t: 2
stepping\t: 1
model name\t: AMD EPYC
flags\t\t: fpu avx avx2 avx512f avx512bw avx512_vnni

processor\t: 1
cpu family\t: 26
model\t\t: 2
stepping\t: 1
model name\t: AMD EPYC
flags\t\t: fpu avx avx2 avx512f avx512bw avx512_vnni
"""
EPYC = "AMD EPYC (family 26, model 2, stepping 1)"
NEOVERSE = "aarch64 (implementer 0x41, part 0xd0c, variant 0x3)"
ARM = """processor\t: 0
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU variant\t: 0x3
CPU part\t: 0xd0c
"""


@pytest.fixture
def cpuinfo(monkeypatch):
    """Says what a machine is; None has no such file."""

    def set_machine(text, machine="x86_64"):
        def read_text(path):
            if text is None:
                raise FileNotFoundError(path)
            return text

        monkeypatch.setattr(Path, "read_text", read_text)
        monkeypatch.setattr(platform, "processor", lambda: machine)
        monkeypatch.setattr(platform, "machine", lambda: machine)
        forget()

    def forget():
        for function in (cores.processor, cores.multiplies_bytes_exactly, cores._cpuinfo):
            function.cache_clear()

    yield set_machine
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize(
    ("text", "machine", "expected", "exact"),
    [
        (X86, "x86_64", f"{EPYC} with AVX512-VNNI", True),
        (X86.replace(" avx512_vnni", ""), "x86_64", f"{EPYC} with AVX512", False),
        (X86.replace("avx512_vnni", "avx_vnni"), "x86_64", f"{EPYC} with AVX-VNNI", True),
        (X86.replace(" avx512f avx512bw avx512_vnni", ""), "x86_64", f"{EPYC} with AVX2", False),
        (X86.replace("avx", "x"), "x86_64", EPYC, False),
        (ARM, "aarch64", f"{NEOVERSE} with NEON with dot products", True),
        (None, "arm64", "arm64", True),
        (None, "AMD64", "AMD64", False),
    ],
)
def test_the_processor_and_what_it_has_for_integers(text, machine, expected, exact, cpuinfo):
    cpuinfo(text, machine)
    assert cores.processor() == expected
    assert cores.multiplies_bytes_exactly() is exact
