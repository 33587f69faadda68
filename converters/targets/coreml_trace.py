"""The module as TorchScript, which coremltools reads, and whether its shapes may vary.

A trace records a size as such where the source takes it from a tensor, and as the example's number
where the source computes with it in Python. The latter is baked in: at another size the graph
fails, or computes something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..deploy import Form
from ..errors import ConversionError, UsageError, one_line
from ..manifest import TensorSpec
from ..recipe import Recipe

# A baked size changes a result altogether; another order of summation changes it by less.
_SAME = 1e-3


class _Positional(nn.Module):
    """A deployed module with tensors by position, in the types of a CoreML package.

    It takes tensors in the order of the interface, an image as float32 with values 0..255, and
    gives a tuple in the order of the module's results.
    """

    def __init__(
        self, module: nn.Module, form: Form, dtypes: Mapping[torch.dtype, torch.dtype]
    ) -> None:
        super().__init__()
        self.module = module
        self.names = tuple(form.examples)
        self.dtypes = dtypes

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        results = self.module(**dict(zip(self.names, tensors, strict=True)))
        return tuple(one.to(self.dtypes.get(one.dtype, one.dtype)) for one in results.values())


class Traced:
    """A form as a TorchScript graph, which takes tensors by position and gives a tuple.

    `module` is the form's, or stands in its place. `results` are the outputs on the form's
    examples, `dtypes` the target's substitutes for types that it has not. Raises ConversionError
    when torch cannot trace the module.
    """

    def __init__(
        self, module: nn.Module, form: Form, dtypes: Mapping[torch.dtype, torch.dtype]
    ) -> None:
        self._form = form
        self._eager = _Positional(module, form, dtypes).eval()
        self._examples = [
            x.to(torch.float32) if one.spec.kind == "image" else x
            for one, x in zip(form.interface.inputs, form.examples.values(), strict=True)
        ]
        try:
            with torch.no_grad():
                self.graph: Any = torch.jit.trace(
                    self._eager, tuple(self._examples), check_trace=False
                )
                self.results: tuple[Tensor, ...] = self._eager(*self._examples)
        except Exception as error:
            raise ConversionError(
                f"torch cannot trace this module: {type(error).__name__}: {_last_line(error)}",
                "--debug shows all of it",
            ) from error

    def check_flexible(self, recipe: Recipe) -> None:
        """Runs the graph at every size of the recipe, or at the ends of its range of batches.

        Raises ConversionError where the graph does not compute what the module does; UsageError
        where the module itself fails.
        """
        specs = [one.spec for one in self._form.interface.inputs]
        for size in recipe.sizes:
            shapes = [resized(spec, size) if spec.sizes else spec.shape for spec in specs]
            self._compare(shapes, "the size {}x{}".format(*size))
        if recipe.dynamic_batch is not None:
            for batch in (1, recipe.dynamic_batch):
                results = self._compare(
                    [(batch, *spec.shape[1:]) for spec in specs], f"a batch of {batch}"
                )
                for name, result in zip(self._form.output_names, results, strict=True):
                    if result.shape[:1] != (batch,):
                        raise ConversionError(
                            f"a dynamic batch is not possible: for a batch of {batch} the output "
                            f"'{name}' has the shape {tuple(result.shape)}"
                        )

    def _compare(self, shapes: Sequence[tuple[int, ...]], what: str) -> tuple[Tensor, ...]:
        """The module's results for inputs of these shapes, which have to be the graph's too."""
        g = torch.Generator().manual_seed(0)
        tensors = [
            x.flatten()[torch.randint(x.numel(), shape, generator=g)]
            for x, shape in zip(self._examples, shapes, strict=True)
        ]
        with torch.no_grad():
            try:
                expected: tuple[Tensor, ...] = self._eager(*tensors)
            except Exception as error:
                raise UsageError(
                    f"the module itself fails at {what}: {_last_line(error)}"
                ) from error
            try:
                actual: tuple[Tensor, ...] = self.graph(*tensors)
            except Exception as error:
                raise self._baked(what, _last_line(error)) from error
        for name, a, b in zip(self._form.output_names, expected, actual, strict=True):
            if a.shape != b.shape:
                raise self._baked(what, f"'{name}' is {tuple(b.shape)}, not {tuple(a.shape)}")
            if not torch.allclose(b, a, rtol=0, atol=_SAME * float(a.abs().max())):
                raise self._baked(what, f"'{name}' has other values than the module gives")
        return expected

    def _baked(self, what: str, reason: str) -> ConversionError:
        sizes = " and ".join("x".join(map(str, x.shape)) for x in self._examples)
        return ConversionError(
            f"one file cannot take {what} as well: {sizes} is baked into the graph ({reason})",
            "make a file for each shape",
        )


def resized(spec: TensorSpec, size: tuple[int, int]) -> tuple[int, ...]:
    """The shape of an image input at another (height, width)."""
    if spec.layout == "NHWC":
        return (spec.shape[0], *size, spec.shape[3])
    return (*spec.shape[:2], *size)


def _last_line(error: Exception) -> str:
    """The reason at the end of a message; before it TorchScript tells where it happened."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1] if lines else type(error).__name__, 300)
