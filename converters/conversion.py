"""The one way from a PyTorch module to a verified artifact: `convert(module, example_inputs)`.

torch and the vendor tools are imported when a conversion starts, not with this module.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import provenance, vendor_output
from .artifact import (
    FAILED_SUFFIX,
    Arrays,
    Artifact,
    CaseKind,
    GoldenCase,
    find_unchanged,
    manifest_path,
    publish,
    record_file,
    staging,
    write_golden,
)
from .checking import Twin, check_file
from .errors import RuntimeFailure, UsageError
from .manifest import (
    CostRecord,
    Manifest,
    Option,
    RouteRecord,
    SourceRecord,
    TensorSpec,
    WeightsRecord,
)
from .preprocessing import Preprocessing
from .recipe import Recipe
from .runtimes.base import TIME_LIMIT_S
from .targets import complete, target_named

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray
    from torch import nn

    from .deploy import ExampleInputs, Form, Interface

TIMED_RUNS = 20

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Origin:
    """Where a module comes from, as its builder knows it; see `SourceRecord`."""

    kind: Literal["model", "factory", "module"]
    name: str
    weights: WeightsRecord
    options: Mapping[str, Option]


@dataclass(frozen=True)
class Preparation:
    """What has to be known of a source before any target converts it."""

    golden: tuple[GoldenCase, ...]
    form: Form
    parameters: int
    macs: int


def convert(
    module: nn.Module,
    example_inputs: ExampleInputs,
    target: str | Recipe = "tflite",
    *,
    name: str | None = None,
    output_dir: str | Path = "mvkit-out",
    layout: Literal["nchw", "nhwc"] = "nchw",
    preprocessing: Preprocessing | None = None,
    embed_preprocessing: bool = False,
    photos: Mapping[str, NDArray[uint8]] | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    origin: Origin | None = None,
    identity: Any = None,
    preparations: dict[Interface, Preparation] | None = None,
    verify: bool = True,
    time_on_host: bool = True,
    force: bool = False,
    verbose: bool = False,
    seed: int = 0,
    time_limit_s: float = TIME_LIMIT_S,
    progress: Progress = lambda phase: None,
) -> Artifact:
    """Converts `module`, in eval mode, and checks the saved file against it.

    `example_inputs` is a tensor, a sequence of positional tensors, or a mapping of keyword
    tensors; they fix shapes and types, batch included, and are themselves one of the parity
    inputs unless there are `photos`: uint8 (H, W, C) arrays by name that already have the
    network's size (or one of the recipe's), and that `preprocessing` turns into input. `target`
    is a name, or a `Recipe` with its options. `embed_preprocessing` puts that arithmetic inside
    the graph, whose input is then a uint8 photo. `labels` name the classes of the first output.
    `origin` and `identity`, plain data that determines the network, come from a caller that can
    build the source again; by default they describe the module itself. A caller that converts
    one module several times hands over one dictionary of `preparations` to share work.

    A module that has a method `fused` is converted in the form that it returns: a network of its
    own, in eval mode, with norms folded and constants made, that computes the same.

    An fp16 file is checked against its fp32 twin, which is converted and checked first, beside it.
    `time_on_host` adds a rough latency on this machine, which means little while it is busy.

    Returns the artifact; with a failed check it stands under a name ending in `-FAILED`, so look
    at `artifact.parity.verdict`. Without `verify` the verdict is "unverified". When the same
    request has made the file before, that artifact is returned as it is.

    Raises UsageError, MissingExtraError, ConversionError, or RuntimeFailure where the runtime
    cannot run the new file; nothing is written then.
    """
    recipe = complete(target if isinstance(target, Recipe) else Recipe(target))
    backend = target_named(recipe.target)
    backend.require()

    from . import deploy

    name = name or type(module).__name__
    stem = recipe.stem(name)
    _check_stem(stem)
    directory = Path(output_dir)
    file = directory / (stem + backend.SUFFIX)
    with eval_mode(module):
        interface = deploy.plan_interface(
            module,
            example_inputs,
            recipe=recipe,
            layout=layout,
            preprocessing=preprocessing,
            embed_preprocessing=embed_preprocessing,
            file_dtypes=backend.FILE_DTYPES,
            input_names=input_names,
            output_names=output_names,
        )
        origin = origin or _describe(module)
        preparations = {} if preparations is None else preparations
        if interface not in preparations:
            progress("running the source")
            cases = _cases(interface, example_inputs, photos or {}, module, seed)
            preparations[interface] = _prepare(module, interface, cases, labels)
        prepared = preparations[interface]
        golden = deploy.in_file_types(prepared.golden, backend.FILE_DTYPES)
        options: dict[str, Option] = {
            "layout": layout,
            "embed_preprocessing": embed_preprocessing,
            "seed": seed,
            **recipe.options(),
        }
        if identity is None:
            identity = {
                "module": repr(module),
                "weights": origin.weights.sha256,
                "outputs": [provenance.arrays_digest(case.outputs) for case in golden],
                "inputs": repr(interface),
                "labels": labels,
            }
        request = provenance.request_digest(recipe, identity, layout, embed_preprocessing)
        if not force:
            existing = find_unchanged(file, request, verified=verify)
            if existing is not None:
                return existing
        twin = None
        if recipe.precision == "fp16" and verify:
            made = convert(
                module, example_inputs, replace(recipe, precision="fp32"), name=name,
                output_dir=directory, layout=layout, preprocessing=preprocessing,
                embed_preprocessing=embed_preprocessing, photos=photos, input_names=input_names,
                output_names=output_names, labels=labels, origin=origin, identity=identity,
                preparations=preparations, time_on_host=time_on_host, force=force,
                verbose=verbose, seed=seed, time_limit_s=time_limit_s, progress=progress,
            )  # fmt: skip
            twin = Twin(made.path, made.parity.verdict)

        with staging(directory) as stage:
            staged = stage / file.name
            progress("converting")
            started = time.perf_counter()
            provenance.reset_peak_memory()
            with vendor_output.silenced(not verbose):
                route = backend.save(prepared.form, staged, recipe)
            cost = CostRecord(round(time.perf_counter() - started, 2), provenance.peak_memory_mib())

            progress("checking the file")
            try:
                checked = check_file(
                    staged,
                    golden,
                    recipe,
                    labels=labels,
                    run=verify,
                    twin=twin,
                    timed_runs=TIMED_RUNS if time_on_host else 0,
                    time_limit_s=time_limit_s,
                )
            except RuntimeFailure as error:  # which names the file under its staging name
                message = error.message.replace(str(staged), f"the new {file.name}")
                raise RuntimeFailure(message, error.hint) from error
            if checked.parity.verdict == "fail":
                stem += FAILED_SUFFIX
                staged = staged.rename(stage / (stem + backend.SUFFIX))
            golden_name = f"{staged.name}.golden.npz"
            write_golden(stage / golden_name, golden)
            manifest = Manifest(
                name=stem,
                target=recipe.target,
                precision=recipe.precision,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                request=request,
                file=record_file(staged, staged.name),
                golden=record_file(stage / golden_name, golden_name),
                inputs=tuple(one.spec for one in interface.inputs),
                outputs=_output_specs(golden[0], prepared.form.labels, recipe),
                source=SourceRecord(
                    origin.kind,
                    origin.name,
                    origin.weights,
                    prepared.parameters,
                    prepared.macs,
                    origin.options,
                ),
                options=options,
                rewrites=route.rewrites,
                tools=provenance.tool_versions(backend),
                host=provenance.host(),
                cost=cost,
                graph=checked.graph,
                parity=checked.parity,
                host_latency=checked.latency,
                twin=None if twin is None else record_file(twin.file, twin.file.name),
                route=RouteRecord(route.emitter, route.reason),
            )
            beside = manifest_path(staged).name
            (stage / beside).write_text(manifest.to_json(), encoding="utf-8")
            publish(stage, directory, (golden_name, staged.name, beside))
    return Artifact(directory / staged.name, manifest)


def _prepare(
    module: nn.Module,
    interface: Interface,
    cases: Mapping[tuple[CaseKind, str], Arrays],
    labels: Sequence[str] | None,
) -> Preparation:
    from . import deploy

    golden = deploy.reference_outputs(module, interface, cases, {})
    outputs = golden[0].outputs
    if labels is not None:
        shape = next(iter(outputs.values())).shape
        if shape[-1:] != (len(labels),):
            raise UsageError(f"{len(labels)} class names for an output of shape {shape}")
    form = deploy.Form(
        deploy.Deployed(_deployment_form(module), interface).eval(),
        _examples(interface, golden[0].inputs),
        tuple(outputs),
        labels,
    )
    return Preparation(golden, form, *_count(module, interface, golden[0].inputs))


def _deployment_form(module: nn.Module) -> nn.Module:
    """The module, or what it offers in its place: its `fused()` form, the same function.

    The reference outputs always come from the module itself, so that a wrong form is noticed.
    """
    fused = getattr(module, "fused", None)
    return fused() if callable(fused) else module


def _check_stem(stem: str) -> None:
    if not stem or set(stem) & set('/\\:*?"<>|') or stem.startswith("."):
        raise UsageError(f"'{stem}' cannot be a file name")


@contextlib.contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode for the block; every submodule's own mode afterwards."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def _describe(module: nn.Module) -> Origin:
    kind = type(module)
    weights = WeightsRecord("module", provenance.state_digest(module))
    return Origin("module", f"{kind.__module__}.{kind.__qualname__}", weights, {})


def _cases(
    interface: Interface,
    example_inputs: ExampleInputs,
    photos: Mapping[str, NDArray[uint8]],
    module: nn.Module,
    seed: int,
) -> dict[tuple[CaseKind, str], Arrays]:
    import torch

    from .cases import example_case, parity_cases

    tables = [m.num_embeddings for m in module.modules() if isinstance(m, torch.nn.Embedding)]
    cases = parity_cases(interface, photos, seed=seed, integer_limit=min(tables, default=2))
    if not photos:
        if isinstance(example_inputs, torch.Tensor):
            tensors = [example_inputs]
        elif isinstance(example_inputs, Mapping):
            tensors = list(example_inputs.values())
        else:
            tensors = list(example_inputs)
        example = example_case(interface, [t.detach().cpu().numpy() for t in tensors])
        if example is not None:
            cases["example", "given"] = example
    return cases


def _examples(interface: Interface, arrays: Arrays) -> dict[str, Any]:
    import torch

    examples = {}
    for one in interface.inputs:
        tensor = torch.from_numpy(arrays[one.spec.name])
        if one.spec.dynamic_batch is not None and len(tensor) == 1:
            tensor = tensor.repeat(2, *[1] * (tensor.ndim - 1))  # torch takes a 1 for a constant
        examples[one.spec.name] = tensor
    return examples


def _count(module: nn.Module, interface: Interface, arrays: Arrays) -> tuple[int, int]:
    """Parameters, and multiply-accumulates of one forward pass with attention counted."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    args, kwargs = interface.source_arguments(arrays)
    # The fused CPU kernel has no entry in torch's table; the products it stands for have.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*args, **kwargs)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2


def _output_specs(
    case: GoldenCase, labels: tuple[str, ...] | None, recipe: Recipe
) -> tuple[TensorSpec, ...]:
    specs = [
        TensorSpec(name, a.shape, a.dtype.name, dynamic_batch=recipe.dynamic_batch)
        for name, a in case.outputs.items()
    ]
    if labels is not None:
        specs[0] = replace(specs[0], labels=labels)
    return tuple(specs)
