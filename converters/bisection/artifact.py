"""An artifact and its source: checked as `verify` does, then compared value by value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..conversion import eval_mode
from ..deploy import reference_outputs
from ..runtimes.base import TIME_LIMIT_S
from ..targets import target_named
from ..verify import Verification, interface_of, recipe_of, verify
from .bisect import Bisection, bisect
from .rewritten import Held, rewritten_source

if TYPE_CHECKING:
    from torch import nn

    from ..artifact import GoldenCase
    from ..deploy import ExampleInputs
    from ..manifest import ParityRecord


@dataclass(frozen=True)
class BisectedArtifact:
    """How the file was judged against its source as an app would run it, and what was found.

    The two may disagree: `bisection` looks at kernels that show what they compute, which are not
    always those that an app gets.
    """

    verification: Verification
    bisection: Bisection

    @property
    def only_as_an_app_runs_it(self) -> bool:
        """Whether the file fails, but not with the kernels that could be looked at."""
        failed = self.verification.checked.parity.verdict == "fail"
        return failed and self.bisection.status == "sound"


def bisect_artifact(
    file: Path,
    source: nn.Module,
    example_inputs: ExampleInputs,
    *,
    time_limit_s: float = TIME_LIMIT_S,
) -> BisectedArtifact:
    """Compares a saved file with its source, built again, on the golden input that shows most.

    Raises what `verify` does, and UnverifiableError where no value inside the file can be had.
    """
    verification = verify(file, source, example_inputs, time_limit_s=time_limit_s)
    artifact = verification.artifact
    recipe = recipe_of(artifact)
    golden = artifact.golden()
    chosen = _worst(golden, verification.checked.parity)
    with eval_mode(source):
        interface = interface_of(artifact, source, example_inputs)
        dtypes = target_named(recipe.target).FILE_DTYPES
        case, *_ = reference_outputs(
            source, interface, {(chosen.kind, chosen.name): chosen.inputs}, dtypes
        )
        held = Held(source, {})
        if artifact.manifest.rewrites:
            held = rewritten_source(source, interface, case, recipe)
        found = bisect(
            file,
            held.module,
            interface,
            case,
            runtime=target_named(recipe.target).runtime(recipe),
            precision=recipe.precision,
            layouts=held.layouts,
            time_limit_s=time_limit_s,
        )
    return BisectedArtifact(verification, found)


def _worst(golden: tuple[GoldenCase, ...], parity: ParityRecord) -> GoldenCase:
    """The case with the largest error, or the one that could not be measured at all."""
    if parity.verdict == "fail" and len(parity.cases) < len(golden):
        return golden[len(parity.cases)]
    errors = [max(one.relative_error for one in case.outputs) for case in parity.cases]
    return golden[errors.index(max(errors))] if errors else golden[0]
