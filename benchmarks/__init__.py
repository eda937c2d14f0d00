"""Side-by-side measurements of Keras Octet and what users would use instead.

`python -m benchmarks --help`, or `make bench`; `docs/speed.md` says what is measured and how.
"""
