"""Files that `save` wrote: `octet_<version>_keras_<version>/<name>.keras`.

The `.npz` beside each holds `input_0`, ... and what the model predicted of them, `output_0`, ...,
in the order of its inputs and outputs. `make.py` writes them, `test_saved.py` reads them all. Those
of a release stay as they are: what users saved must load in every later one.
"""
