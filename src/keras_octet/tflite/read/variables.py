"""Resource variables: tensors that outlive a call of the model, known by name.

A functional graph has no order of side effects. So the value of a variable is a tensor like any
other: the builder walks the operators in the order of the file and keeps, for each variable, the
tensor that is its value at that point. The `Variable` layer gives the first, and stores the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras_octet.errors import ModelFileError

RESOURCE = "resource"


@dataclass(frozen=True)
class Handle:
    """What a tensor of type resource stands for: the name of a variable."""

    container: str
    shared_name: str

    def __str__(self) -> str:
        return repr(self.shared_name)


def handle_of(options: Any) -> Handle:
    """The variable that a VAR_HANDLE names."""
    if options is None:
        raise ModelFileError("A VAR_HANDLE has no options.")
    names = (options.container, options.sharedName)
    return Handle(*(("" if x is None else x.decode("utf-8", errors="replace")) for x in names))
