"""A saved artifact checked again, from what stands beside it or against its PyTorch source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .artifact import Artifact, GoldenCase, load_artifact
from .convert import CheckedFile, check_file, eval_mode
from .runtimes.base import TIME_LIMIT_S
from .targets import target_named

if TYPE_CHECKING:
    from torch import nn

    from .deploy import ExampleInputs


@dataclass(frozen=True)
class Verification:
    """The artifact as it was stored, and what checking it now showed."""

    artifact: Artifact
    checked: CheckedFile
    against: str  # what the file was compared with


def verify(
    file: Path,
    source: nn.Module | None = None,
    example_inputs: ExampleInputs | None = None,
    *,
    time_limit_s: float = TIME_LIMIT_S,
) -> Verification:
    """Runs a saved file and compares it with its golden outputs; needs no torch for that.

    With `source`, built again, and its `example_inputs`, the outputs to compare with are computed
    anew, on the golden inputs. Raises ArtifactError for a damaged artifact and RuntimeFailure for
    a file that does not run.
    """
    artifact = load_artifact(file)
    golden = artifact.golden()
    against = "its golden tensors"
    if source is not None:
        assert example_inputs is not None
        golden = _outputs_anew(artifact, golden, source, example_inputs)
        against = "its PyTorch source"
    runtime = target_named(artifact.manifest.target).RUNTIME
    checked = check_file(file, golden, runtime, time_limit_s=time_limit_s)
    return Verification(artifact, checked, against)


def _outputs_anew(
    artifact: Artifact,
    golden: tuple[GoldenCase, ...],
    source: nn.Module,
    example_inputs: ExampleInputs,
) -> tuple[GoldenCase, ...]:
    from .deploy import plan_interface, reference_outputs

    manifest = artifact.manifest
    image = next((spec for spec in manifest.inputs if spec.layout is not None), None)
    dtypes = target_named(manifest.target).FILE_DTYPES
    with eval_mode(source):
        interface = plan_interface(
            source,
            example_inputs,
            layout="nhwc" if image and image.layout == "NHWC" else "nchw",
            preprocessing=image.preprocessing if image else None,
            embed_preprocessing=bool(image and image.preprocessing_embedded),
            file_dtypes=dtypes,
            input_names=[spec.name for spec in manifest.inputs],
            output_names=[spec.name for spec in manifest.outputs],
        )
        inputs = {(case.kind, case.name): case.inputs for case in golden}
        return reference_outputs(source, interface, inputs, dtypes)
