"""What is said of the machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from keras_octet import cores

X86 = """processor\t: 0
model name\t: AMD EPYC
flags\t\t: fpu avx avx2 avx512f avx512bw avx512_vnni

processor\t: 1
model name\t: AMD EPYC
flags\t\t: fpu avx avx2 avx512f avx512bw avx512_vnni
"""
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (X86, "AMD EPYC with AVX512-VNNI"),
        (X86.replace(" avx512f avx512bw avx512_vnni", ""), "AMD EPYC with AVX2"),
        (X86.replace("avx", "x"), "AMD EPYC"),
        (ARM, "aarch64 with NEON with dot products"),
        ("", "aarch64"),
    ],
)
def test_the_processor_is_named_with_what_integer_kernels_need(text, expected, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda self: text)
    monkeypatch.setattr(platform, "processor", lambda: "aarch64")
    assert cores.processor.__wrapped__() == expected


def test_a_system_without_cpuinfo_names_the_processor(monkeypatch):
    def missing(self):
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert cores.processor.__wrapped__() == "arm"
