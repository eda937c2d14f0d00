"""Golden files: `<operator>_<kind>[_<variant>].tflite`, each with a `.npz` beside it.

The `.npz` holds `input_0`, ... and what LiteRT's default interpreter made of them, `output_0`, ...,
in the order of the subgraph; of a file that keeps state also `call_1_input_0`, ... of calls that
follow. The `make_*.py` scripts write them. `tests/tflite/read/test_golden.py` reads them all,
`test_control.py` those of loops, branches and variables.
"""
