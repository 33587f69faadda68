"""Numbers in what foreign programs print."""

from __future__ import annotations

import math
import re
from typing import NoReturn

from converters.errors import DeviceError, one_line

NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)"


def whole_lines(output: str, errors: str) -> str:
    """Both streams without a last line that was cut off: half a number is another number."""
    return "".join(text[: text.rfind("\n") + 1] for text in (output, errors))


def positive(text: str, what: str, program: str) -> float:
    """Raises DeviceError for what is no positive, finite number."""
    value = figure(text, what, program)
    if value <= 0:
        refuse(program, f"{what} of {one_line(text, 40)} is not positive")
    return value


def figure(text: str, what: str, program: str) -> float:
    """Raises DeviceError for what is no finite number from 0."""
    value = float(text) if re.fullmatch(NUMBER, text) else math.nan
    if not (math.isfinite(value) and value >= 0):
        refuse(program, f"{what} of {one_line(text, 40)} is no number that it could be")
    return value


def refuse(program: str, why: str) -> NoReturn:
    raise DeviceError(f"what {program} printed cannot be used: {why}")
