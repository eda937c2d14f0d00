"""The `octet` command: a thin layer over `keras_octet`.

It is a package of its own because importing `keras_octet` imports Keras, and Keras imports its
backend: the command answers `--help` and usage errors without either, and chooses a backend that is
installed before Keras reads the setting.
"""

from keras_octet_cli.app import main

__all__ = ["main"]
