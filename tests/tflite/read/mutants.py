"""Damaged copies of a file: what a fuzzer that knows no format would try first."""

from __future__ import annotations

import random

# Values at which offsets, lengths and sizes break.
_WORDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 0x10000)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A truncated copy, or one with some bits, bytes, words or stretches overwritten."""
    if rng.random() < 0.1:
        return data[: rng.randrange(len(data))]
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        place = rng.randrange(len(data))
        what = rng.random()
        if what < 0.35:
            damaged[place] ^= 1 << rng.randrange(8)
        elif what < 0.5:
            damaged[place] = rng.randrange(256)
        elif what < 0.85:
            aligned = min(place & ~3, len(data) - 4)
            word = rng.choice((*_WORDS, len(data), rng.randrange(256), rng.randrange(2**32)))
            damaged[aligned : aligned + 4] = word.to_bytes(4, "little")
        else:
            source, length = rng.randrange(len(data)), rng.randrange(1, 64)
            stretch = data[source : source + length]
            damaged[place : place + len(stretch)] = stretch
    return bytes(damaged[: len(data)])
