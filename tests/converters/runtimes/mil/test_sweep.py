"""Small torch modules through coremltools and the evaluator, against torch itself.

Every module comes out right, or stands in one of the tables below: what the converter gets wrong
or refuses in the release that is installed. An entry that is no longer true fails.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY
from torch import Tensor

from converters.errors import UnverifiableError
from converters.runtimes.mil import Evaluator
from tests.converters.runtimes.mil import modules, modules_of_tensors
from tests.converters.runtimes.mil.modules import Sample
from tests.converters.runtimes.mil.programs import ct

pytestmark = [
    pytest.mark.slow,
    # What torch remarks on tracing, and coremltools on the names of outputs.
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::torch.jit.TracerWarning"),
]

TOLERANCE = 1e-5  # of the largest magnitude of an output

SAMPLES: dict[str, Sample] = {
    name: one
    for table in (*modules.TABLES, *modules_of_tensors.TABLES)
    for name, one in table.items()
}

# Indices, slices and attention are spelled otherwise before iOS17 and iOS18.
OLDER = (modules_of_tensors.MATRICES, modules_of_tensors.SIZES, modules_of_tensors.INDEXING)

# What the converter gets wrong, with the numbers of reports to apple/coremltools.
WRONG = {
    "average pool ceil": "divides by the whole kernel, torch by what is inside (2772, 2844)",
    "average pool 1d ceil": "as above",
    "average pool ceil padded": "as above",
    "rms norm of a large epsilon": "multiplies epsilon by the square of the maximum (2821)",
    "Softplus scaled": "leaves out the threshold, above which torch is linear (2725)",
    "variance corrected by 2": "takes a correction for a truth value, as 1 (2718)",
    "reciprocal of small numbers": "adds the default epsilon of 1e-4 (2773)",
    "one over small numbers": "as above",
}

# Packages that leave open what they compute.
UNVERIFIED = {
    "average pool ceil beyond": "a window begins behind the last pixel; torch leaves it out",
}

# What the converter refuses; most of it for want of a translation.
REFUSED = {
    "CELU": "celu",
    "Hardshrink": "hardshrink",
    "LogSigmoid": "log_sigmoid",
    "Softshrink": "softshrink",
    "add scaled": "add with a scale",
    "addcdiv": "addcdiv",
    "addcmul": "addcmul",
    "affine grid": "affine_grid of a computed matrix",
    "average pool of another divisor": "divisor_override",
    "bicubic": "upsample_bicubic2d",
    "bilinear": "bilinear",
    "bilinear by 1.3": "a fractional factor whose size is not recomputed",
    "channel shuffle": "channel_shuffle",
    "conv2d circular": "padding of mode circular",
    "diagonal": "diagonal",
    "fmod": "fmod",
    "lerp": "lerp",
    "logic": "__or__",
    "matmul of a matrix and a vector": "matmul with a vector on the right",
    "matmul of vectors": "as above",
    "max pool dilated": "dilation of max_pool",
    "movedim": "movedim",
    "nearest exact": "_upsample_nearest_exact2d",
    "pad by cropping": "padding by a negative number",
    "pad circular": "padding of mode circular",
    "pairwise distance": "pairwise_distance",
    "product": "prod",
    "subtract scaled": "sub with a scale",
    "take along": "take_along_dim",
    "transposed conv2d uneven output padding": "output padding beside no padding",
    "trilinear": "upsample_trilinear3d",
    "truncate": "trunc",
}


# Before a conversion of the kit in this process adds its own translations.
STOCK = dict(_TORCH_OPS_REGISTRY.name_to_func_mapping)


@pytest.fixture(scope="module", autouse=True)
def _stock_converter() -> Iterator[None]:
    """The converter as it is published.

    It collects garbage at each conversion, which for all that torch holds would be most of the
    work, so that is set aside.
    """
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_TORCH_OPS_REGISTRY, "name_to_func_mapping", STOCK)
        yield
    gc.unfreeze()


def outcome(sample: Sample, target: Any, path: Path) -> str:
    """Right or wrong; or unverified by the evaluator, or refused by the converter."""
    graph = torch.jit.trace(sample.module, sample.inputs, check_trace=False)
    inputs = [
        ct.TensorType(f"x{i}", x.shape, np.float32 if x.is_floating_point() else np.int32)
        for i, x in enumerate(sample.inputs)
    ]
    try:
        model = ct.convert(
            graph,
            inputs=inputs,
            minimum_deployment_target=target,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
    except Exception:  # whatever a translation stumbles over
        return "refused"
    model.save(str(path))
    given = {f"x{i}": x.numpy() for i, x in enumerate(sample.inputs)}
    try:
        results = list(Evaluator(path).run(given).values())
    except UnverifiableError:
        return "unverified"
    return "right" if error(results, sample) <= TOLERANCE else "wrong"


def error(results: list[Any], sample: Sample) -> float:
    """The largest error relative to the largest magnitude of its output."""
    with torch.no_grad():
        expected = sample.module(*sample.inputs)
    outputs = [expected] if isinstance(expected, Tensor) else list(expected)
    assert len(results) == len(outputs)
    worst = 0.0
    for got, output in zip(results, outputs, strict=True):
        reference = output.double().numpy()
        # A scalar comes out of a package as a vector of one.
        assert got.shape == (reference.shape or (1,)) or got.shape == reference.shape
        scale = max(float(np.abs(reference).max()), 1e-30)
        worst = max(worst, float(np.abs(got.reshape(reference.shape) - reference).max()) / scale)
    return worst


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, ct.target.iOS18) for name in SAMPLES),
        *((name, ct.target.iOS16) for table in OLDER for name in table),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_modules_come_out_as_torch_computes_them(name: str, target: Any, tmp_path: Path) -> None:
    tables = {"wrong": WRONG, "unverified": UNVERIFIED, "refused": REFUSED}
    expected = next((key for key, table in tables.items() if name in table), "right")
    assert outcome(SAMPLES[name], target, tmp_path / "module.mlpackage") == expected


def test_the_sweep_is_wide_and_mostly_right() -> None:
    explained = {**WRONG, **UNVERIFIED, **REFUSED}
    assert set(explained) <= set(SAMPLES)
    assert len(SAMPLES) - len(explained) >= 200
