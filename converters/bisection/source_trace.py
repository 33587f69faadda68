"""What a source computes on one input: every operator's result, and every module's output.

Operators are seen below autograd, as a `TorchDispatchMode` sees them, so that functional calls
count as much as modules do. Each result is cloned the moment it exists: an activation in place
would otherwise overwrite what the layer before it gave. Fused operators (layer norm, softmax,
SiLU, ...) give the values of their textbook form besides, because a saved file may spell them out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

INPUT = "input"  # the operator of a value that the source was given

_aten = torch.ops.aten
_FUSED = torch._decomp.get_decompositions(
    [
        _aten._log_softmax,
        _aten._softmax,
        _aten.addmm,
        _aten.elu,
        _aten.gelu,
        _aten.hardsigmoid,
        _aten.hardswish,
        _aten.mish,
        _aten.native_batch_norm,
        _aten.native_group_norm,
        _aten.native_layer_norm,
        _aten.silu,
        _aten.softplus,
    ]
)


@dataclass(frozen=True)
class SourceValue:
    """One tensor that an operator gave.

    `reads` are the indices of the values that the operator read; weights are not among them.
    """

    index: int
    operator: str  # as torch names it: convolution, native_layer_norm
    module: str  # path of the innermost module that ran it, "" for the network itself
    array: NDArray[Any]
    reads: tuple[int, ...]
    step: int | None  # its number among a run's results; None where it is no operator's
    inner: tuple[NDArray[Any], ...] = ()  # what a fused operator computes on the way
    rounding: float = 0.0  # relative error that rounding alone makes; see `rounding.py`
    inner_rounding: tuple[float, ...] = ()  # the same for each of `inner`


@dataclass(frozen=True)
class ModuleOutput:
    """A tensor that a module returned."""

    path: str
    kind: str  # class name
    value: int  # index among the trace's values
    reads: tuple[int, ...]  # the values that it was called with


@dataclass(frozen=True)
class SourceTrace:
    """Values in order of computation, modules in order of their return."""

    values: tuple[SourceValue, ...]
    modules: tuple[ModuleOutput, ...]
    result: Any  # what the source returned
    _indices: Mapping[int, int]  # of live tensors, by identity

    def value_of(self, tensor: Tensor) -> int | None:
        """The index of a tensor that the source returned; None for one that it did not compute."""
        return self._indices.get(id(tensor))


def trace_source(
    module: nn.Module,
    args: Sequence[Tensor],
    kwargs: Mapping[str, Tensor],
    *,
    replaced: Mapping[int, NDArray[Any]] | None = None,
) -> SourceTrace:
    """Runs `module` and keeps what every operator gives.

    `replaced` holds arrays, by step, that stand in the place of what the operator gave; all that
    follows is computed from them.
    """
    recorder = _Recorder(replaced or {}, keep=True)
    for tensor in (*args, *kwargs.values()):
        recorder.add(tensor, INPUT)
    with _watched(module, recorder):
        result = _run(module, args, kwargs, recorder)
    indices = {
        id(t): recorder.known[id(t)].value for t in _tensors(result) if id(t) in recorder.known
    }
    return SourceTrace(tuple(recorder.values), tuple(recorder.modules), result, indices)


def replay_source(
    module: nn.Module,
    args: Sequence[Tensor],
    kwargs: Mapping[str, Tensor],
    replaced: Mapping[int, NDArray[Any]],
) -> Any:
    """What the source returns with some values replaced, by their step in its trace."""
    recorder = _Recorder(replaced, keep=False)
    return _run(module, args, kwargs, recorder)


def _run(
    module: nn.Module, args: Sequence[Tensor], kwargs: Mapping[str, Tensor], recorder: _Recorder
) -> Any:
    fast = torch.backends.mha.get_fastpath_enabled()
    # One opaque operator for a whole attention, or a whole encoder layer, could not be looked into.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), recorder:
            return module(*args, **kwargs)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@dataclass
class _Known:
    """A live tensor: held, so that no other takes its identity, with the value that it has."""

    tensor: Tensor
    value: int


class _Recorder(TorchDispatchMode):
    def __init__(self, replaced: Mapping[int, NDArray[Any]], *, keep: bool) -> None:
        super().__init__()
        self.replaced = replaced
        self.keep = keep
        self.steps = 0
        self.values: list[SourceValue] = []
        self.modules: list[ModuleOutput] = []
        self.stack: list[tuple[str, tuple[int, ...]]] = []  # modules with what they were given
        self.known: dict[int, _Known] = {}

    def enter(self, path: str, inputs: Any) -> None:
        # Now, for an activation in place gives the tensor that it was given another value.
        self.stack.append((path, self._values_of(inputs)))

    def leave(self, module: nn.Module, result: Any) -> None:
        path, reads = self.stack[-1]
        for tensor in _tensors(result):
            known = self.known.get(id(tensor))
            if known is None:
                continue  # a parameter or buffer handed out as it is
            held = self.values[known.value].array
            if not np.array_equal(held, _array(tensor), equal_nan=held.dtype.kind in "fc"):
                # Changed through a view of it, which is another tensor.
                self.add(tensor, "in_place", reads=(known.value,))
            value = self.known[id(tensor)].value
            if value not in reads:
                self.modules.append(ModuleOutput(path, type(module).__name__, value, reads))
        self.stack.pop()

    def add(
        self,
        tensor: Tensor,
        operator: str,
        *,
        reads: tuple[int, ...] = (),
        step: int | None = None,
        inner: tuple[NDArray[Any], ...] = (),
    ) -> None:
        index = len(self.values)
        module = self.stack[-1][0] if self.stack else ""
        array = _array(tensor)
        self.values.append(SourceValue(index, operator, module, array, reads, step, inner))
        self.known[id(tensor)] = _Known(tensor, index)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _aten.detach.default:
            # The same tensor by another name. torch detaches what a factory gave where something
            # else holds it, as this recorder does, and not otherwise: it cannot count as a step.
            detached = func(*args, **kwargs)
            if id(args[0]) in self.known:
                self.known[id(detached)] = _Known(detached, self.known[id(args[0])].value)
            return detached
        reads = self._values_of((args, kwargs)) if self.keep else ()
        inner = _inner_values(func, args, kwargs) if self.keep else ()
        leaves, structure = tree_flatten(func(*args, **kwargs))
        name = str(func.overloadpacket).rpartition(".")[2]
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):
                if self.steps in self.replaced:
                    leaves[i] = _replace(leaf, self.replaced[self.steps], args)
                if self.keep:
                    self.add(leaves[i], name, reads=reads, step=self.steps, inner=inner)
                self.steps += 1
        return tree_unflatten(leaves, structure)

    def _values_of(self, tree: Any) -> tuple[int, ...]:
        found = (self.known.get(id(tensor)) for tensor in _tensors(tree))
        return tuple(dict.fromkeys(known.value for known in found if known is not None))


@contextlib.contextmanager
def _watched(module: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Hooks on every module that tell the recorder where it is."""
    hooks = []
    for path, child in module.named_modules():

        def enter(child: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
            recorder.enter(path, (args, kwargs))

        def leave(child: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            with _disable_current_modes():  # what the recorder does is not the source's
                recorder.leave(child, result)

        hooks.append(child.register_forward_pre_hook(enter, with_kwargs=True, prepend=True))
        hooks.append(child.register_forward_hook(leave, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Collector(TorchDispatchMode):
    """Keeps what each operator gives, and nothing about it."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays: list[NDArray[Any]] = []

    def __enter__(self) -> _Collector:
        super().__enter__()
        return self

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.arrays.extend(_array(tensor) for tensor in _tensors(result))
        return result


def _inner_values(func: Any, args: Any, kwargs: Any) -> tuple[NDArray[Any], ...]:
    """What an operator's textbook form computes besides its result."""
    name = func.overloadpacket.__name__
    if name.endswith("_"):  # in place, as the same operator out of place
        func = getattr(getattr(_aten, name[:-1], None), "default", None)
    spelled_out = _FUSED.get(func)
    with _Collector() as collector:
        if spelled_out is not None:
            spelled_out(*_cloned(args), **kwargs)
        if func is _aten.convolution.default and any(args[4]) and not args[6]:
            # Padding, then a convolution without.
            sides = [side for padding in reversed(args[4]) for side in (padding, padding)]
            torch.nn.functional.pad(args[0], sides)
        if func is _aten.native_layer_norm.default:
            _layer_norm_forms(args[0], len(args[1]), args[4])
    return tuple(collector.arrays)


def _layer_norm_forms(x: Tensor, axes: int, epsilon: float) -> None:
    """Steps by which converters spell out a layer norm: x / s - m / s, or with scaled moments."""
    over = list(range(-axes, 0))
    mean = x.mean(over, keepdim=True)
    square = (x - mean).square()
    scale = (square.mean(over, keepdim=True) + epsilon).rsqrt()
    _ = (mean * scale).neg(), x * scale


def _cloned(args: Sequence[Any]) -> list[Any]:
    """Arguments that an operator in place may write to."""
    return [one.clone() if isinstance(one, Tensor) else one for one in args]


def _replace(tensor: Tensor, array: NDArray[Any], args: Any) -> Tensor:
    new = torch.from_numpy(np.ascontiguousarray(array)).reshape(tensor.shape).to(tensor.dtype)
    in_place = any(tensor is argument for argument in _tensors(args))
    # The strides are kept: a view that follows may ask for them.
    return (tensor if in_place else torch.empty_like(tensor)).copy_(new)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.numpy(force=True).copy()
