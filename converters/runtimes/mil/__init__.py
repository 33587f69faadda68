"""CoreML programs (MIL) on any machine: read, executed and looked into without CoreML.

    from converters.runtimes.mil import Evaluator

    outputs = Evaluator("net.mlpackage").run({"image": photo})

Reading a package (`package`, `program`) needs neither torch nor coremltools as a whole; torch is
imported with the evaluator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..base import Session, SessionRequest
    from .evaluator import Evaluator

__all__ = ["Evaluator", "open_session"]


def open_session(request: SessionRequest) -> Session:
    """A package that is ready to run, for `converters.runtimes.child`."""
    from .session import EvaluatorSession

    return EvaluatorSession(request)


def __getattr__(name: str) -> Any:
    if name == "Evaluator":
        from .evaluator import Evaluator

        return Evaluator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
