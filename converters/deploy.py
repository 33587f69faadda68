"""The source network in the shape that its file will have: named inputs and outputs.

A file takes its inputs by name, an image perhaps as NHWC or as a uint8 photo; the source takes
positional or keyword tensors in PyTorch's NCHW. `Interface` is the plan of that difference,
`Deployed` the module that carries it out inside the graph. The reference outputs of a parity check
never come from `Deployed`: `reference_outputs` feeds the source itself through NumPy, so that a
fault in the plan shows.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .artifact import Arrays, CaseKind, GoldenCase
from .errors import ConversionError, UsageError
from .manifest import TensorSpec
from .preprocessing import Preprocessing

ExampleInputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


@dataclass(frozen=True)
class Input:
    """One input: what the source takes, and what the file takes in its place."""

    spec: TensorSpec
    source_shape: tuple[int, ...]
    source_dtype: torch.dtype
    keyword: str | None  # the source's argument, or None for a positional one

    @property
    def is_nhwc(self) -> bool:
        return self.spec.layout == "NHWC"

    @property
    def embedded(self) -> Preprocessing | None:
        return self.spec.preprocessing if self.spec.preprocessing_embedded else None


@dataclass(frozen=True)
class Interface:
    inputs: tuple[Input, ...]
    output_names: tuple[str, ...] | None = None  # None: from the structure of the result

    def source_arguments(self, arrays: Arrays) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The file's inputs as the source's positional and keyword arguments."""
        args, kwargs = [], {}
        for one in self.inputs:
            array = arrays[one.spec.name]
            if one.embedded is not None:
                photos = array if one.is_nhwc else array.transpose(0, 2, 3, 1)
                array = one.embedded.normalise(photos)
            elif one.is_nhwc:
                array = array.transpose(0, 3, 1, 2)
            tensor = torch.from_numpy(np.array(array, order="C")).to(one.source_dtype)
            if one.keyword is None:
                args.append(tensor)
            else:
                kwargs[one.keyword] = tensor
        return args, kwargs

    def name_outputs(self, result: Any) -> dict[str, Tensor]:
        """The source's result, flattened, with a name for each tensor."""
        found = list(_tensors(result, ""))
        if not found:
            raise ConversionError(f"the module returns {type(result).__name__}, not a tensor")
        names = [name or "output" for name, _ in found]
        if self.output_names is not None:
            if len(self.output_names) != len(found):
                raise UsageError(
                    f"{len(self.output_names)} output names for {len(found)} outputs of the module"
                )
            names = list(self.output_names)
        if len(set(names)) < len(names):
            raise ConversionError(f"two outputs of the module share a name: {', '.join(names)}")
        return {name: tensor for name, (_, tensor) in zip(names, found, strict=True)}


class Deployed(nn.Module):
    """The source behind the file's interface: keyword tensors in, a dictionary of tensors out."""

    def __init__(self, source: nn.Module, interface: Interface) -> None:
        super().__init__()
        self.source = source
        self.interface = interface

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        args, kwargs = [], {}
        for one in self.interface.inputs:
            x = inputs[one.spec.name]
            if one.embedded is not None:
                x = _normalise(x if one.is_nhwc else x.permute(0, 2, 3, 1), one.embedded)
                x = x.permute(0, 3, 1, 2)
            elif one.is_nhwc:
                x = x.permute(0, 3, 1, 2)
            x = x.to(one.source_dtype)
            if one.keyword is None:
                args.append(x)
            else:
                kwargs[one.keyword] = x
        return self.interface.name_outputs(self.source(*args, **kwargs))


def _normalise(photos: Tensor, recipe: Preprocessing) -> Tensor:
    """`Preprocessing.normalise` in torch operators: uint8 (B, H, W, C) to float, same layout."""
    x = photos.to(torch.float32) / 255
    if recipe.channel_order == "bgr":
        x = x.flip(-1)
    return (x - torch.tensor(recipe.mean)) / torch.tensor(recipe.std)


def plan_interface(
    module: nn.Module,
    example_inputs: ExampleInputs,
    *,
    layout: Literal["nchw", "nhwc"],
    preprocessing: Preprocessing | None,
    embed_preprocessing: bool,
    file_dtypes: Mapping[str, str],
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Interface:
    """Names, shapes and types of the file's inputs for these example inputs of the source.

    The image is the one input of four axes; `layout` and `preprocessing` speak of it.
    `file_dtypes` are the target's substitutes for types that it has not (int64 -> int32).
    Raises UsageError where an option speaks of an image and there is none, or names do not fit.
    """
    examples = _as_named(module, example_inputs, input_names)
    images = [name for name, (_, tensor) in examples.items() if tensor.ndim == 4]
    if (preprocessing is not None or layout == "nhwc") and len(images) != 1:
        raise UsageError(
            f"layout and preprocessing need exactly one image input (B,C,H,W); "
            f"this module has {len(images)}"
        )
    if embed_preprocessing and preprocessing is None:
        raise UsageError("embedding the preprocessing needs to know it", "give mean and std")
    inputs = []
    for name, (keyword, tensor) in examples.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        spec = TensorSpec(name, tuple(tensor.shape), file_dtypes.get(dtype, dtype))
        if name in images:
            spec = _image_spec(spec, layout, preprocessing, embed_preprocessing)
        inputs.append(Input(spec, tuple(tensor.shape), tensor.dtype, keyword))
    return Interface(tuple(inputs), tuple(output_names) if output_names else None)


def _image_spec(
    spec: TensorSpec, layout: str, preprocessing: Preprocessing | None, embed: bool
) -> TensorSpec:
    b, c, h, w = spec.shape
    if preprocessing is not None and preprocessing.size != (h, w):
        wanted = "x".join(map(str, preprocessing.size))
        raise UsageError(f"the preprocessing gives {wanted}, the input is {h}x{w}")
    if preprocessing is not None and not (
        len(preprocessing.mean) == len(preprocessing.std) == preprocessing.channels
    ):
        raise UsageError(
            f"the preprocessing is for {preprocessing.channels} channels, but has "
            f"{len(preprocessing.mean)} means and {len(preprocessing.std)} deviations"
        )
    if preprocessing is not None and preprocessing.channels != c:
        raise UsageError(
            f"the preprocessing gives {preprocessing.channels} channels, the input has {c}"
        )
    return dataclasses.replace(
        spec,
        shape=(b, h, w, c) if layout == "nhwc" else spec.shape,
        dtype="uint8" if embed else spec.dtype,
        layout="NHWC" if layout == "nhwc" else "NCHW",
        preprocessing=preprocessing,
        preprocessing_embedded=embed,
    )


def _as_named(
    module: nn.Module, examples: ExampleInputs, names: Sequence[str] | None
) -> dict[str, tuple[str | None, Tensor]]:
    """File name -> (keyword of the source or None, tensor), in the source's order."""
    if isinstance(examples, Mapping):
        found: dict[str, tuple[str | None, Tensor]] = {n: (n, t) for n, t in examples.items()}
    else:
        tensors = [examples] if isinstance(examples, Tensor) else list(examples)
        if names is None:
            parameters = inspect.signature(module.forward).parameters.values()
            positional = [
                p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
            ]
            rest = (f"input_{i}" for i in range(len(positional), len(tensors)))
            names = [*positional, *rest][: len(tensors)]
        if len(names) != len(tensors):
            raise UsageError(f"{len(names)} input names for {len(tensors)} inputs")
        found = {n: (None, t) for n, t in zip(names, tensors, strict=True)}
    try:
        inspect.signature(module.forward).bind(
            *(t for k, t in found.values() if k is None),
            **{k: t for k, t in found.values() if k is not None},
        )
    except TypeError as error:
        given = ", ".join(found)
        raise UsageError(
            f"the module's forward() does not fit the inputs ({given}): {error}"
        ) from None
    return found


def _tensors(result: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(result, Tensor):
        yield prefix, result
    elif isinstance(result, Mapping):
        for key, value in result.items():
            clean = re.sub(r"\W", "_", str(key))
            yield from _tensors(value, f"{prefix}_{clean}" if prefix else clean)
    elif isinstance(result, list | tuple):
        for i, value in enumerate(result):
            yield from _tensors(value, f"{prefix or 'output'}_{i}")
    elif result is not None:
        raise ConversionError(f"the module returns a {type(result).__name__} among its outputs")


@torch.no_grad()
def reference_outputs(
    source: nn.Module,
    interface: Interface,
    cases: Mapping[tuple[CaseKind, str], Arrays],
    file_dtypes: Mapping[str, str],
) -> tuple[GoldenCase, ...]:
    """What the source makes of each case, in the file's types; `cases` go by (kind, name).

    Raises UsageError when the source fails on its inputs; ConversionError when the same input
    gives two results or a run changes the source's buffers: no file could be compared with it.
    """
    before = {name: buffer.clone() for name, buffer in source.named_buffers()}
    golden = [
        GoldenCase(name, kind, inputs, _run(source, interface, inputs, file_dtypes))
        for (kind, name), inputs in cases.items()
    ]
    for name, buffer in source.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise ConversionError(
                f"the module changes its buffer '{name}' while it runs; a file keeps no state"
            )
    again = _run(source, interface, golden[0].inputs, file_dtypes)
    if any(not np.array_equal(again[n], a, equal_nan=True) for n, a in golden[0].outputs.items()):
        raise ConversionError("the module gives different outputs for the same input")
    return tuple(golden)


def _run(
    source: nn.Module, interface: Interface, inputs: Arrays, file_dtypes: Mapping[str, str]
) -> dict[str, Any]:
    args, kwargs = interface.source_arguments(inputs)
    try:
        outputs = interface.name_outputs(source(*args, **kwargs))
    except (UsageError, ConversionError):
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"the module fails on its inputs: {reason}") from error
    arrays = {}
    for name, tensor in outputs.items():
        array = tensor.detach().cpu().numpy()
        arrays[name] = array.astype(file_dtypes.get(array.dtype.name, array.dtype.name))
    return arrays
