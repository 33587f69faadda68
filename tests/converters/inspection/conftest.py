"""One small network in all formats, converted by the vendors' tools once for the session."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.networks import Classifier

FILES = {
    "xnnpack": "classifier-xnnpack.pte",
    "portable": "classifier-portable.pte",
    "coreml": "classifier-coreml.pte",
    "fp16": "classifier-fp16.mlpackage",
    "fp32": "classifier-fp32.mlpackage",
}


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`classifier(form)`: `tests.networks.Classifier` for (1, 3, 32, 48); not to be changed."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "inspected"
    folder.mkdir(exist_ok=True)

    def get(form: str) -> Path:
        file = folder / FILES[form]
        with FileLock(folder / f"{form}.lock"):
            if not file.exists():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    _convert(form, file)
        return file

    return get


def _convert(form: str, file: Path) -> None:
    torch.manual_seed(0)
    module, example = Classifier().eval(), (torch.randn(1, 3, 32, 48),)
    if file.suffix == ".mlpackage":
        import coremltools as ct

        precision = ct.precision.FLOAT16 if form == "fp16" else ct.precision.FLOAT32
        ct.convert(
            torch.jit.trace(module, example),
            inputs=[ct.TensorType("image", example[0].shape)],
            minimum_deployment_target=ct.target.iOS16,
            compute_precision=precision,
        ).save(str(file))
        return
    from executorch.exir import to_edge_transform_and_lower

    partitioners = []
    if form == "xnnpack":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        partitioners = [XnnpackPartitioner()]
    elif form == "coreml":
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner

        partitioners = [CoreMLPartitioner()]
    exported = torch.export.export(module, example)
    program = to_edge_transform_and_lower(exported, partitioner=partitioners).to_executorch()
    file.write_bytes(program.buffer)
