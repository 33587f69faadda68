"""A saved artifact checked again, from what stands beside it or against its PyTorch source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .artifact import Artifact, GoldenCase, load_artifact
from .checking import CheckedFile, CoreMLRuntime, Twin, check_file
from .conversion import eval_mode
from .errors import ArtifactError
from .recipe import Recipe
from .runtimes.base import TIME_LIMIT_S
from .targets import target_named

if TYPE_CHECKING:
    from torch import nn

    from .deploy import ExampleInputs, Interface


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
    runtime: CoreMLRuntime | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> Verification:
    """Runs a saved file and compares it with its golden outputs; needs no torch for that.

    With `source`, built again, and its `example_inputs`, the outputs to compare with are computed
    anew, on the golden inputs. `runtime` says what runs a CoreML package.

    Raises ArtifactError for a damaged artifact and RuntimeFailure for a file that does not run.
    """
    artifact = load_artifact(file)
    golden = artifact.golden()
    against = "its golden tensors"
    if source is not None:
        assert example_inputs is not None
        golden = _outputs_anew(artifact, golden, source, example_inputs)
        against = "its PyTorch source"
    checked = check_file(
        file,
        golden,
        recipe_of(artifact),
        labels=artifact.manifest.outputs[0].labels,
        runtime=runtime,
        twin=_twin(artifact),
        time_limit_s=time_limit_s,
    )
    return Verification(artifact, checked, against)


def recipe_of(artifact: Artifact) -> Recipe:
    """The recipe that an artifact was converted by."""
    manifest = artifact.manifest
    return Recipe.from_options(manifest.target, manifest.precision, manifest.options)


def _twin(artifact: Artifact) -> Twin | None:
    record = artifact.manifest.twin
    if record is None:
        return None
    file = artifact.path.parent / record.name
    if not file.exists():
        return None
    twin = load_artifact(file)
    if twin.manifest.file.sha256 != record.sha256:
        raise ArtifactError(
            f"{file}: is not the fp32 twin that {artifact.path.name} was checked against",
            "convert both again",
        )
    return Twin(file, twin.parity.verdict)


def _outputs_anew(
    artifact: Artifact,
    golden: tuple[GoldenCase, ...],
    source: nn.Module,
    example_inputs: ExampleInputs,
) -> tuple[GoldenCase, ...]:
    from .deploy import reference_outputs

    with eval_mode(source):
        interface = interface_of(artifact, source, example_inputs)
        inputs = {(case.kind, case.name): case.inputs for case in golden}
        dtypes = target_named(artifact.manifest.target).FILE_DTYPES
        return reference_outputs(source, interface, inputs, dtypes)


def interface_of(artifact: Artifact, source: nn.Module, example_inputs: ExampleInputs) -> Interface:
    """The plan by which `source` was made into the artifact's file."""
    from .deploy import plan_interface

    manifest = artifact.manifest
    image = next((spec for spec in manifest.inputs if spec.layout is not None), None)
    return plan_interface(
        source,
        example_inputs,
        recipe=recipe_of(artifact),
        layout="nhwc" if image and image.layout == "NHWC" else "nchw",
        preprocessing=image.preprocessing if image else None,
        embed_preprocessing=bool(image and image.preprocessing_embedded),
        file_dtypes=target_named(manifest.target).FILE_DTYPES,
        input_names=[spec.name for spec in manifest.inputs],
        output_names=[spec.name for spec in manifest.outputs],
    )
