"""The source network in the shape that its file will have: named inputs and outputs.

A file takes its inputs by name, an image perhaps as NHWC or as a uint8 photo; the source takes
positional or keyword tensors in PyTorch's NCHW. `Interface` is the plan of that difference,
`Deployed` the module that carries it out inside the graph. The reference outputs of a parity check
never come from `Deployed`: `reference_outputs` feeds the source itself through NumPy, so that a
fault in the plan shows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .artifact import Arrays, CaseKind, GoldenCase
from .errors import ConversionError, UsageError
from .manifest import TensorSpec
from .preprocessing import Preprocessing
from .recipe import Recipe

if TYPE_CHECKING:
    from .route import Rewritten

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
        if any(one.spec.dynamic_batch for one in interface.inputs):
            # torch.export does not take free axes for arguments that have no name of their own.
            named = _forward_with_names([one.spec.name for one in interface.inputs])
            self.forward = types.MethodType(named, self)  # type: ignore[method-assign]

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        args, kwargs = [], {}
        for one in self.interface.inputs:
            x = inputs[one.spec.name]
            if one.embedded is not None:
                x = _normalise(x, one.embedded, channels=3 if one.is_nhwc else 1)
            if one.is_nhwc:
                x = x.permute(0, 3, 1, 2)
            x = x.to(one.source_dtype)
            if one.keyword is None:
                args.append(x)
            else:
                kwargs[one.keyword] = x
        return self.interface.name_outputs(self.source(*args, **kwargs))


def _forward_with_names(names: Sequence[str]) -> Callable[..., dict[str, Tensor]]:
    def forward(self: Deployed, **inputs: Tensor) -> dict[str, Tensor]:
        return Deployed.forward(self, **inputs)

    parameters = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY) for n in names]
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    forward.__signature__ = inspect.Signature([this, *parameters])  # type: ignore[attr-defined]
    return forward


class Form:
    """What a target converts: the source behind its interface, with example tensors.

    `module` takes keyword tensors and gives a dictionary of tensors. Targets with the same
    interface share one form, and with it the export.
    """

    def __init__(
        self,
        module: Deployed,
        examples: Mapping[str, Tensor],
        output_names: Sequence[str],
        labels: Sequence[str] | None,
    ) -> None:
        self.module = module
        self.examples = examples
        self.interface = module.interface
        self.output_names = tuple(output_names)
        self.labels = None if labels is None else tuple(labels)
        self.rewritten: dict[tuple[str, ...], Rewritten] = {}  # by the rewrites' names
        self._exported: torch.export.ExportedProgram | None = None

    def exported(self) -> torch.export.ExportedProgram:
        """The graph of the module; the first axis of each input is free where the batch is.

        Raises ConversionError when torch cannot export the module, or not with a free batch.
        """
        if self._exported is None:
            try:
                with torch.no_grad(), _without_stack_traces():
                    self._exported = torch.export.export(
                        self.module, (), dict(self.examples), dynamic_shapes=self.dynamic_shapes()
                    )
            except Exception as error:
                reason = next((line for line in str(error).splitlines() if line.strip()), "")
                free = " with a dynamic batch" if self.dynamic_shapes() else ""
                raise ConversionError(
                    f"torch cannot export this module{free}: "
                    f"{type(error).__name__}: {reason[:300]}",
                    "--debug shows all of it",
                ) from error
        return self._exported

    def dynamic_shapes(self) -> dict[str, Any] | None:
        """torch.export's description of the free axes; None where every size is fixed."""
        limits = [one.spec.dynamic_batch for one in self.interface.inputs]
        if not any(limits):
            return None
        batch = torch.export.Dim("batch", min=1, max=max(limit or 1 for limit in limits))
        return {name: {0: batch} for name in self.examples}


@contextlib.contextmanager
def _without_stack_traces() -> Iterator[None]:
    """Within this, torch does not spell out for every node which source lines it comes from.

    That is a quarter of an export, and nothing here reads it: a node's module is in its metadata.
    """
    config = torch.fx.config
    before, config.do_not_emit_stack_traces = config.do_not_emit_stack_traces, True
    try:
        yield
    finally:
        config.do_not_emit_stack_traces = before


def _normalise(photos: Tensor, recipe: Preprocessing, channels: int) -> Tensor:
    """`Preprocessing.normalise` in torch operators: uint8 photos to float, in the same layout.

    `channels` is the axis of the channels.
    """
    shape = [-1 if axis == channels else 1 for axis in range(4)]
    x = photos.to(torch.float32) / 255
    if recipe.channel_order == "bgr":
        x = x.flip(channels)
    return (x - torch.tensor(recipe.mean).view(shape)) / torch.tensor(recipe.std).view(shape)


def plan_interface(
    module: nn.Module,
    example_inputs: ExampleInputs,
    *,
    recipe: Recipe,
    layout: Literal["nchw", "nhwc"],
    preprocessing: Preprocessing | None,
    embed_preprocessing: bool,
    file_dtypes: Mapping[str, str],
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Interface:
    """Names, shapes and types of the file's inputs for these example inputs of the source.

    The image is the one input of four axes; `layout`, `preprocessing` and the recipe's input kind
    and sizes speak of it.
    `file_dtypes` are the target's substitutes for types that it has not (int64 -> int32).
    Raises UsageError where an option speaks of an image and there is none, or names do not fit.
    """
    examples = _as_named(module, example_inputs, input_names)
    images = [name for name, (_, tensor) in examples.items() if tensor.ndim == 4]
    is_image = recipe.input_kind == "image"
    if (preprocessing or layout == "nhwc" or is_image or recipe.sizes) and len(images) != 1:
        raise UsageError(
            f"layout, preprocessing, image input and sizes need exactly one image (B,C,H,W); "
            f"this module has {len(images)}"
        )
    if is_image and layout == "nhwc":
        raise UsageError("an image input has no layout; leave nhwc out")
    embed_preprocessing = embed_preprocessing or is_image
    if embed_preprocessing and preprocessing is None:
        raise UsageError("embedding the preprocessing needs to know it", "give mean and std")
    inputs = []
    for name, (keyword, tensor) in examples.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        spec = TensorSpec(name, tuple(tensor.shape), file_dtypes.get(dtype, dtype))
        if name in images:
            spec = _image_spec(spec, layout, preprocessing, embed_preprocessing)
            spec = dataclasses.replace(
                spec, kind=recipe.input_kind, sizes=tuple(f"{h}x{w}" for h, w in recipe.sizes)
            )
        if recipe.dynamic_batch is not None:
            _check_batch(name, tensor, recipe.dynamic_batch)
            spec = dataclasses.replace(spec, dynamic_batch=recipe.dynamic_batch)
        inputs.append(Input(spec, tuple(tensor.shape), tensor.dtype, keyword))
    return Interface(tuple(inputs), tuple(output_names) if output_names else None)


def _check_batch(name: str, example: Tensor, limit: int) -> None:
    if example.ndim == 0:
        raise UsageError(f"a dynamic batch needs a first axis; input '{name}' is a single number")
    if example.shape[0] > limit:
        raise UsageError(f"input '{name}' has a batch of {example.shape[0]}, over {limit}")


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


def in_file_types(
    cases: Sequence[GoldenCase], file_dtypes: Mapping[str, str]
) -> tuple[GoldenCase, ...]:
    """The cases with outputs in a target's types."""
    return tuple(
        dataclasses.replace(case, outputs=_narrowed(case.outputs, file_dtypes)) for case in cases
    )


def _narrowed(arrays: Arrays, file_dtypes: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: array.astype(file_dtypes.get(array.dtype.name, array.dtype.name))
        for name, array in arrays.items()
    }


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
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in outputs.items()}
    return _narrowed(arrays, file_dtypes)
