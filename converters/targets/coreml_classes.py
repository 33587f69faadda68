"""The classifier at the end of a package whose input is a photo and whose classes have names.

An app hands such a package to Vision and gets names with confidences: the label of the largest
value, and a dictionary of probabilities, the softmax of the network's first output. That output
itself stays beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError, one_line

LABEL = "classLabel"
PROBABILITIES = "classLabel_probs"  # coremltools derives it from the label's name


def class_outputs(logits: NDArray[Any], labels: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What the classifier adds to the outputs for `logits` (1, classes).

    The label is a string array without axes, the probabilities are float64 (classes,) in the
    order of the labels.
    """
    row = logits[0].astype(np.float64)
    exponentials = np.exp(row - row.max())
    return {
        LABEL: np.array(labels[int(row.argmax())]),
        PROBABILITIES: exponentials / exponentials.sum(),
    }


def append_classifier(spec: Any, labels: Sequence[str], deployment_target: str) -> None:
    """Adds the classifier to a converted model, of message type `CoreML.Specification.Model`.

    It reads the first output. coremltools' own way to a classifier drops that output and allows
    no second one; its operators are therefore converted by themselves and moved to the end of the
    network. Raises UsageError when the labels cannot be those of the output.
    """
    logits = spec.description.output[0]
    shape = tuple(logits.type.multiArrayType.shape)
    if shape != (1, len(labels)):
        raise UsageError(
            f"a classifier of {len(labels)} classes needs a first output (1, {len(labels)}); "
            f"'{logits.name}' is {shape}"
        )
    twice = next((label for i, label in enumerate(labels) if label in labels[:i]), None)
    if twice is not None:
        raise UsageError(f"two classes of a classifier have the same name, '{one_line(twice, 60)}'")
    block = _main_block(spec)
    names = {variable.name for operation in block.operations for variable in operation.outputs}
    names |= {one.name for one in spec.description.input}
    if names & {LABEL, PROBABILITIES}:
        raise UsageError(f"a classifier's own outputs are called {LABEL} and {PROBABILITIES}")

    tail = _tail(labels, deployment_target)
    for operation in _main_block(tail).operations:
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.name == _TAIL_INPUT:
                    binding.name = logits.name
        block.operations.append(operation)
    outputs = [LABEL, PROBABILITIES, *block.outputs]
    del block.outputs[:]
    block.outputs.extend(outputs)
    described = [*tail.description.output, *spec.description.output]
    del spec.description.output[:]
    spec.description.output.extend(described)
    spec.description.predictedFeatureName = LABEL
    spec.description.predictedProbabilitiesName = PROBABILITIES


_TAIL_INPUT = f"{LABEL}_logits"


def _tail(labels: Sequence[str], deployment_target: str) -> Any:
    """A model of the classifier alone: `_TAIL_INPUT` (1, classes) to label and probabilities."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program, types

    target = getattr(ct.target, deployment_target)
    program = Program()
    logits = mb.placeholder(shape=(1, len(labels)), dtype=types.fp32)
    with Function({_TAIL_INPUT: logits}, opset_version=target) as function:
        probabilities = mb.softmax(x=function.inputs[_TAIL_INPUT], axis=-1, name=f"{LABEL}_softmax")
        function.set_outputs([probabilities])
    program.add_function("main", function)
    with TemporaryDirectory(prefix="mvkit-classes-") as folder:
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=target,
            compute_precision=ct.precision.FLOAT32,
            classifier_config=ct.ClassifierConfig(list(labels), LABEL),
            package_dir=f"{folder}/classes.mlpackage",
            skip_model_load=True,
        )
        return model.get_spec()


def _main_block(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset]
