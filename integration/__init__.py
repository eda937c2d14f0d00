"""Whole models on real data; run with `pytest integration -m slow`."""
