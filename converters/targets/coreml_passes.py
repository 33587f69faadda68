"""coremltools' passes over a program without what it does between them for its own developers.

coremltools 9.0 runs some hundred passes, and after each checks every use of every value of the
whole program, and spells the program out for a log line that nobody reads: half of a conversion.
It makes the same check after the front end, after each removal of dead code and before it writes
the file, where it stays; the file is then run in any case.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Within this, coremltools checks a program only where it also asks for its operators' origins.

    That is how the checks that stay differ from those after every pass.
    """
    from coremltools.converters.mil.mil import Program

    validate, text = Program.validate, Program.__str__

    def at_ends(self: Program, check_essential_scope: bool | None = False) -> None:
        if check_essential_scope:
            validate(self, check_essential_scope=True)

    Program.validate, Program.__str__ = at_ends, object.__repr__
    try:
        yield
    finally:
        Program.validate, Program.__str__ = validate, text
