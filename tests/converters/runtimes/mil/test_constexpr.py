"""Compressed weights beside coremltools' own decompression, and the examples of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil.ops.defs.iOS16 import constexpr_ops as ios16
from coremltools.converters.mil.mil.ops.defs.iOS18 import compression as ios18
from coremltools.optimize import _utils as optimize_utils

from converters.runtimes.mil import Evaluator, constexpr
from tests.converters.runtimes.mil.programs import ct, mb, normal, save_program

RNG = np.random.default_rng(0)


def tensors(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if value is None else torch.tensor(np.asarray(value))
        for name, value in arguments.items()
    }


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize(("axis", "vector"), [(0, True), (-2, True), (2, True), (0, False)])
def test_affine_dequantize(kind: type, axis: int, vector: bool) -> None:
    data = RNG.integers(np.iinfo(kind).min, np.iinfo(kind).max, (4, 3, 2)).astype(kind)
    size = (data.shape[axis],) if vector else ()
    scale = RNG.random(size).astype(np.float32)
    zero = RNG.integers(0, 100, size).astype(kind)
    got = constexpr.affine_dequantize(
        **tensors({"quantized_data": data, "zero_point": zero, "scale": scale, "axis": axis})
    )
    shape = [-1 if i == axis % 3 else 1 for i in range(3)] if vector else []
    wanted = scale.reshape(shape) * (data.astype(np.float32) - zero.reshape(shape))
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_packed_look_up(bits: int) -> None:
    shape = (3, 7)
    indices = RNG.integers(0, 2**bits, shape, np.uint8)
    packed = optimize_utils.pack_elements_into_bits(indices.flatten(), bits)
    lut = normal(2**bits)
    got = constexpr.lut_to_dense(
        **tensors({"indices": packed, "lut": lut, "shape": np.array(shape)})
    )
    np.testing.assert_array_equal(got, lut[indices])
    again = ios16.constexpr_lut_to_dense.decompress(lut, packed, np.array(shape))
    np.testing.assert_array_equal(got, again)


def test_packed_sparse() -> None:
    dense = normal(3, 7) * (RNG.random((3, 7)) > 0.6)
    mask = np.packbits((dense != 0).flatten(), bitorder="little")
    got = constexpr.sparse_to_dense(
        **tensors({"nonzero_data": dense[dense != 0], "mask": mask, "shape": np.array((3, 7))})
    )
    np.testing.assert_array_equal(got, dense)


@pytest.mark.parametrize(
    ("shape", "groups", "length", "axis"),
    [
        ((6, 2), (2, 1), 1, None),
        ((6, 4), (3, 2), 1, None),
        ((2, 2, 2), (1, 1, 1), 3, 1),
        ((2, 2, 2), (1, 1, 1), 3, -1),
        ((4, 6), (2, 1), 2, 0),
        ((4, 6), (1, 3), 2, 1),
        ((4, 6), (2, 3), 2, 0),
    ],
)
def test_look_up(shape: Any, groups: Any, length: int, axis: int | None) -> None:
    indices = RNG.integers(0, 4, shape, np.uint8)
    lut = normal(*groups, 4, length)
    got = constexpr.lut_to_dense(
        **tensors({"indices": indices, "lut": lut, "vector_axis": axis})
    ).numpy()
    wanted = ios18.constexpr_lut_to_dense.decompress(indices, lut, axis)
    np.testing.assert_array_equal(got, wanted)
    for place in np.ndindex(*shape):  # by the definition
        table = lut[tuple(i * g // n for i, g, n in zip(place, groups, shape, strict=True))]
        for k in range(length):
            at = list(place)
            if axis is not None:
                at[axis] = at[axis] * length + k
            assert got[tuple(at)] == table[indices[place], k]


def test_look_up_example_of_the_reference() -> None:
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], np.uint8).reshape(6, 2)
    lut = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float32).reshape(2, 1, 4, 1)
    got = constexpr.lut_to_dense(torch.from_numpy(indices), torch.from_numpy(lut))
    wanted = [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]
    np.testing.assert_array_equal(got, wanted)


MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], np.uint8)


def test_sparse_shift_scale_example_of_the_reference() -> None:
    mask, values = constexpr.sparse_blockwise_shift_scale(
        torch.from_numpy(MASK),
        torch.tensor([10, 11, 3, 4, 5, 6, 7, 8, 9]),
        torch.tensor([[0.1, 0.2, 0.3, 0.4]]),
        torch.tensor([[1, 2, 3, 4]]),
    )
    np.testing.assert_array_equal(mask, MASK)
    wanted = [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4]
    np.testing.assert_allclose(values, wanted, rtol=1e-6)


@pytest.mark.parametrize(("length", "axis"), [(1, None), (2, 0), (2, 1)])
def test_look_up_of_sparse_indices(length: int, axis: int | None) -> None:
    count = int(MASK.sum())
    arguments = {
        "indices_mask": MASK,
        "indices_nonzero_data": RNG.integers(0, 2, count, np.uint8),
        "lut": normal(1, 1, 2, length) + 10,
        "vector_axis": axis,
    }
    mask, values = constexpr.lut_to_sparse(**tensors(arguments))
    wanted_mask, wanted = ios18.constexpr_lut_to_sparse.decompress(*arguments.values())
    np.testing.assert_array_equal(mask, wanted_mask)
    np.testing.assert_array_equal(values, wanted)
    dense = constexpr.sparse_to_dense(values, mask)
    assert np.count_nonzero(dense) == count * length


@pytest.mark.parametrize("blocks", [(1, 1), (4, 1), (2, 3), (4, 6)])
@pytest.mark.parametrize("with_offset", [True, False])
def test_blockwise_shift_scale(blocks: tuple[int, int], with_offset: bool) -> None:
    data = RNG.integers(-8, 8, (4, 6)).astype(np.int8)
    scale, offset = normal(*blocks), RNG.integers(-8, 8, blocks).astype(np.int8)
    got = constexpr.blockwise_shift_scale(
        **tensors({"data": data, "scale": scale, "offset": offset if with_offset else None})
    )
    for i, j in np.ndindex(4, 6):
        block = i * blocks[0] // 4, j * blocks[1] // 6
        shift = offset[block] if with_offset else 0
        np.testing.assert_allclose(got[i, j], scale[block] * (data[i, j] - shift), rtol=1e-6)


REFUSED: dict[str, Any] = {
    "bytes": lambda: constexpr.lut_to_dense(
        torch.zeros(3, dtype=torch.uint8), torch.zeros(4), torch.tensor([100])
    ),
    "table": lambda: constexpr.lut_to_dense(
        torch.zeros(3, dtype=torch.uint8), torch.zeros(3), torch.tensor([12])
    ),
    "absurd": lambda: constexpr.lut_to_dense(
        torch.zeros(3, dtype=torch.uint8), torch.zeros(4), torch.tensor([2**31, 2**31])
    ),
    "index": lambda: constexpr.lut_to_dense(torch.tensor([[4]]), torch.zeros(1, 1, 4, 1)),
    "places": lambda: constexpr.sparse_to_dense(torch.zeros(3), torch.zeros(2, 2)),
    "blocks": lambda: constexpr.blockwise_shift_scale(torch.zeros(4, 6), torch.zeros(3, 1)),
    "none": lambda: constexpr.blockwise_shift_scale(torch.zeros(4, 6), torch.zeros(0, 1)),
    "vector": lambda: constexpr.lut_to_dense(torch.tensor([[0]]), torch.zeros(1, 1, 4, 2)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_operands_that_do_not_fit(name: str) -> None:
    with pytest.raises(ValueError):
        REFUSED[name]()


WEIGHT = normal(64, 64)


def dense_package(path: Path, target: Any) -> Any:
    save_program(
        lambda x: mb.linear(x=x, weight=WEIGHT, name="out"), {"x": ((2, 64), "fp32")}, path, target
    )
    return ct.models.MLModel(str(path), skip_model_load=True)


def configured(config: Any) -> Any:
    return ct.optimize.coreml.OptimizationConfig(global_config=config)


opt = ct.optimize.coreml
COMPRESSIONS: dict[str, tuple[Any, Any]] = {
    "affine": (ct.target.iOS16, lambda m: opt.linear_quantize_weights(
        m, configured(opt.OpLinearQuantizerConfig(mode="linear", weight_threshold=0)))),
    "lut": (ct.target.iOS16, lambda m: opt.palettize_weights(
        m, configured(opt.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)))),
    "sparse": (ct.target.iOS16, lambda m: opt.prune_weights(
        m, configured(opt.OpMagnitudePrunerConfig(target_sparsity=0.7, weight_threshold=0)))),
    "int4 in blocks": (ct.target.iOS18, lambda m: opt.linear_quantize_weights(
        m, configured(opt.OpLinearQuantizerConfig(
            dtype="int4", granularity="per_block", block_size=16, weight_threshold=0)))),
    "lut in groups": (ct.target.iOS18, lambda m: opt.palettize_weights(
        m, configured(opt.OpPalettizerConfig(
            mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=16,
            weight_threshold=0)))),
    "sparse and lut": (ct.target.iOS18, lambda m: opt.palettize_weights(
        opt.prune_weights(m, configured(opt.OpMagnitudePrunerConfig(
            target_sparsity=0.7, weight_threshold=0))),
        configured(opt.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)),
        joint_compression=True)),
    "sparse and int8": (ct.target.iOS18, lambda m: opt.linear_quantize_weights(
        opt.prune_weights(m, configured(opt.OpMagnitudePrunerConfig(
            target_sparsity=0.7, weight_threshold=0))),
        configured(opt.OpLinearQuantizerConfig(weight_threshold=0)), joint_compression=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_packages(name: str, tmp_path: Path) -> None:
    """What coremltools writes, beside what coremltools decompresses it to."""
    target, compress = COMPRESSIONS[name]
    compressed = compress(dense_package(tmp_path / "dense.mlpackage", target))
    path = tmp_path / "compressed.mlpackage"
    compressed.save(str(path))
    evaluator = Evaluator(path)
    kinds = [kind for kind in evaluator.operators if kind.startswith("constexpr_")]
    assert kinds
    # The same package with its weights decompressed by coremltools.
    plain = tmp_path / "plain.mlpackage"
    opt.decompress_weights(ct.models.MLModel(str(path), skip_model_load=True)).save(str(plain))
    assert not [kind for kind in Evaluator(plain).operators if kind.startswith("constexpr_")]
    x = {"x": normal(2, 64, seed=1)}
    got, wanted = evaluator.run(x)["out"], Evaluator(plain).run(x)["out"]
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    exact = x["x"] @ WEIGHT.T
    assert 1e-4 < np.abs(got - exact).max() / np.abs(exact).max() < 1
