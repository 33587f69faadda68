"""coremltools' passes over a program without what it does between them for its own developers.

coremltools 9.0 runs some hundred passes, and after each checks every use of every value of the
whole program, spells the program out for a log line that nobody reads, and hands on from value to
value which compressed weights it comes from: half of a conversion. It makes the same check after
the front end, after each removal of dead code and before it writes the file, where it stays; the
file is then run in any case. Compressed weights are followed where a program has any.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Within this, coremltools checks a program only where it also asks for its operators' origins.

    That is how the checks that stay differ from those after every pass.
    """
    from coremltools.converters.mil.mil import Block, Program

    validate, text = Program.validate, Program.__str__
    propagate = Block._propagate_nonreplaceable_vars

    def at_ends(self: Program, check_essential_scope: bool | None = False) -> None:
        if check_essential_scope:
            validate(self, check_essential_scope=True)

    def if_compressed(self: Block) -> None:
        if any(op.blocks or op.op_type.startswith("constexpr_") for op in self.operations):
            propagate(self)

    Program.validate, Program.__str__ = at_ends, object.__repr__
    Block._propagate_nonreplaceable_vars = if_compressed
    try:
        yield
    finally:
        Program.validate, Program.__str__ = validate, text
        Block._propagate_nonreplaceable_vars = propagate
