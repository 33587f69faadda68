"""Is an fp16 CoreML program its verified fp32 twin, rounded?

Half precision hides faults: a wrong GELU mode or padding may change the outputs by less than
rounding does. But the two programs come from one network, and with them every operator: they are
compared as graphs, operator by operator and constant by constant.
"""

from __future__ import annotations

from pathlib import Path

from ..runtimes.mil.features import read_features
from ..runtimes.mil.package import open_package
from ..runtimes.mil.program import Program, read_program
from .pairing import Comparison, Difference

__all__ = ["Difference", "compare_files", "compare_twins"]


def compare_files(fp32: Path, fp16: Path) -> list[Difference]:
    """The differences between two packages, whose inputs and outputs have to be alike as well.

    Raises ArtifactError for a damaged package.
    """
    single, half = open_package(fp32), open_package(fp16)
    if read_features(single) != read_features(half):
        return [Difference("the description", "has other inputs or outputs than the fp32 twin's")]
    return compare_twins(read_program(single), read_program(half))


def compare_twins(fp32: Program, fp16: Program) -> list[Difference]:
    """The differences between two programs; none if the second is the first, rounded.

    Operators that the fp16 program lacks come first, the others follow in its order.
    """
    if fp32.functions.keys() != fp16.functions.keys():
        return [Difference("the program", "has other functions than its fp32 twin")]
    return [
        difference
        for name, function in fp32.functions.items()
        for difference in Comparison(function, fp16.functions[name]).run()
    ]
