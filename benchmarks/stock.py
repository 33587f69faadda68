"""The stock side of the benchmarks: timm's networks through the vendors' documented routes."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.process import in_fresh_process
from mobilevit_kit.models import list_models

if TYPE_CHECKING:
    from torch import Tensor, nn

# XNNPACK's rate hardly changes from 256 to 1024; this size stays within a core's own caches.
GEMM_SIDE = 512


def to_tflite(network: nn.Module, image: Tensor, path: str) -> None:
    import litert_torch

    litert_torch.convert(network, (image,)).export(path)


def to_coreml(network: nn.Module, image: Tensor, path: str) -> None:
    import coremltools as ct
    import torch

    with torch.no_grad():
        traced = torch.jit.trace(network, image)
    package = ct.convert(
        traced,
        inputs=[ct.TensorType(shape=image.shape)],
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
    )
    package.save(path)


def to_executorch(network: nn.Module, image: Tensor, path: str) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = to_edge_transform_and_lower(
        torch.export.export(network, (image,)), partitioner=[XnnpackPartitioner()]
    ).to_executorch()
    Path(path).write_bytes(program.buffer)


@dataclass(frozen=True)
class Route:
    """A vendor's way from a network in eval mode, with one image, to a file."""

    convert: Callable[[nn.Module, Tensor, str], None]
    suffix: str
    tools: tuple[str, ...]  # packages that have a part in the file
    modules: tuple[str, ...]  # what `convert` imports that takes time


ROUTES = {
    "tflite": Route(to_tflite, ".tflite", ("litert-torch", "litert-converter"), ("litert_torch",)),
    "coreml": Route(to_coreml, ".mlpackage", ("coremltools",), ("coremltools",)),
    "executorch": Route(
        to_executorch,
        ".pte",
        ("executorch",),
        ("executorch.exir", "executorch.backends.xnnpack.partition.xnnpack_partitioner"),
    ),
}


def stock_network(model: str) -> nn.Module:
    """The network of timm in eval mode, with the weights that the kit gives a reference model.

    With timm's own initial weights the comparison would flatter it: EfficientViT's residual
    branches end in a batch norm of weight 0, and a converter that folds constants drops them. A
    network that the kit does not contain gets loud weights for the same reason.
    """
    from converters.loud import loud_weights_
    from mobilevit_kit.source import SourceRequest, build_source
    from tests.oracles import timm

    network: nn.Module = timm.create_model(model)
    network.eval()
    if model in list_models():
        network.load_state_dict(build_source(SourceRequest(model)).module.state_dict())
    else:
        loud_weights_(network, example_inputs=(image_of(network),))
    return network


def image_of(network: nn.Module) -> Tensor:
    """A seeded random image (1,3,H,W) of the size that timm gives the network."""
    import torch

    size: tuple[int, ...] = network.pretrained_cfg["input_size"]  # type: ignore[assignment,index]
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(0))


@functools.cache
def has_fused_attention(model: str) -> bool:
    """Whether timm's network calls `scaled_dot_product_attention` unless told otherwise."""
    from tests.oracles import timm

    return bool(_fused_modules(timm.create_model(model)))


def _fused_modules(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if getattr(module, "fused_attn", False)]


def stock_file(model: str, target: str, *, fused_attention: bool, cache: Path) -> Path:
    """The network of timm as a file of the stock converter, made unless it is in `cache`.

    Without `fused_attention` the network is asked to spell its attention out, as
    `timm.layers.set_fused_attn(False)` does. The file's place tells model, weights and tools.
    """
    attention = "" if fused_attention else "-unfused"
    path = _folder(target, cache) / f"{model}-loud0{attention}{ROUTES[target].suffix}"
    if not path.exists():
        in_fresh_process(_save, model, target, fused_attention, path)
    return path


def _save(model: str, target: str, fused_attention: bool, path: Path) -> None:
    import torch

    network = stock_network(model)
    if not fused_attention:
        for module in _fused_modules(network):
            module.fused_attn = False
    image = image_of(network)
    with torch.no_grad():
        network(image)  # timm's EfficientViT then keeps its attention biases as constants
    _write_whole(target, network, image, path)


def gemm_file(target: str, cache: Path) -> Path:
    """One matrix product as a linear layer, (GEMM_SIDE, GEMM_SIDE) in and out, in a file."""
    path = _folder(target, cache) / f"gemm{GEMM_SIDE}{ROUTES[target].suffix}"
    if not path.exists():
        in_fresh_process(_save_gemm, target, path)
    return path


def _save_gemm(target: str, path: Path) -> None:
    import torch

    layer = torch.nn.Linear(GEMM_SIDE, GEMM_SIDE, bias=False).eval()
    _write_whole(target, layer, torch.zeros(GEMM_SIDE, GEMM_SIDE), path)


def _folder(target: str, cache: Path) -> Path:
    """Where the files of a route with the installed versions are."""
    tools = ("torch", "timm", *ROUTES[target].tools)
    return cache / "_".join(f"{tool}-{version(tool)}" for tool in tools)


def _write_whole(target: str, network: nn.Module, example: Tensor, path: Path) -> None:
    from converters import vendor_output

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as stage, vendor_output.silenced():
        made = Path(stage, path.name)
        ROUTES[target].convert(network, example, str(made))
        made.rename(path)
