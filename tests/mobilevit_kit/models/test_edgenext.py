"""EdgeNeXt against timm, against its published counts, and against wrong versions of itself."""

from __future__ import annotations

import copy
import dataclasses
import re
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from converters.errors import UsageError
from converters.loud import loud_weights_
from mobilevit_kit.models import edgenext
from mobilevit_kit.models.edgenext import VARIANTS, EdgeNext, EdgeNextConfig
from tests.oracles import timm

TOLERANCE = 1e-5
XX_SMALL = VARIANTS["edgenext_xx_small"]
# Every kind of block, an uneven split of the channels (8, 8, 6), and little to compute.
TINY = EdgeNextConfig((8, 16, 22, 32), (1, 2, 2, 1), heads=2)


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def relative_error(ours: Tensor, reference: Tensor) -> float:
    assert ours.shape == reference.shape
    return ((ours - reference).abs().max() / reference.abs().max()).item()


def loud(config: EdgeNextConfig, **options: object) -> EdgeNext:
    model = EdgeNext(config, **options)
    loud_weights_(model)
    return model.eval()


def timm_twin(name: str, model: nn.Module) -> nn.Module:
    twin = timm.create_model(name)
    twin.load_state_dict(model.state_dict(), strict=True)
    return twin.eval()


@pytest.mark.parametrize(
    ("name", "parameters", "macs_millions"),
    [
        ("edgenext_xx_small", 1_327_216, 258),
        ("edgenext_x_small", 2_336_804, 533),
        ("edgenext_small", 5_586_832, 1253),
        ("edgenext_base", 18_511_292, 3828),
    ],
)
def test_has_the_published_size(name, parameters, macs_millions):
    with torch.device("meta"):
        model = EdgeNext(VARIANTS[name]).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 256, 256))

    assert sum(p.numel() for p in model.parameters()) == parameters
    assert round(counter.get_total_flops() / 2e6) == macs_millions


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_computes_what_timm_computes(name):
    model = loud(VARIANTS[name])
    twin = timm_twin(name, model)
    features = EdgeNext(VARIANTS[name], features_only=True).eval()
    features.load_state_dict(model.state_dict(), strict=False)

    with torch.no_grad():
        for x in (image(1, 3, 256, 256), image(2, 3, 200, 264)):
            last, maps = twin.forward_intermediates(x)
            assert relative_error(model(x), twin.forward_head(last)) <= TOLERANCE
            for ours, theirs in zip(features(x), maps, strict=True):
                assert relative_error(ours, theirs) <= TOLERANCE


def test_gradients_are_timms():
    model = loud(XX_SMALL)
    twin = timm_twin("edgenext_xx_small", model)
    x = image(2, 3, 64, 96)

    model.train()(x).square().sum().backward()
    twin.train()(x).square().sum().backward()

    theirs = dict(twin.named_parameters())
    for name, parameter in model.named_parameters():
        assert relative_error(parameter.grad, theirs[name].grad) <= 1e-4, name


# What goes wrong in hand-written versions, as edits of the source.
MUTATIONS = {
    "attention over the wrong axis": ("softmax(-1)", "softmax(-2)"),
    "queries not normalised": ("F.normalize(q, dim=-1)", "q"),
    "keys not normalised": ("F.normalize(k, dim=-1)", "k"),
    "normalised over channels": ("F.normalize(q, dim=-1)", "F.normalize(q, dim=-2)"),
    "no temperature": ("scores * self.temperature", "scores"),
    "divided by the temperature": ("scores * self.temperature", "scores / self.temperature"),
    "approximate GELU": ("gelu_(x)", "gelu_(x, approximate='tanh')"),
    "norm eps of PyTorch": ("norm_eps: float = 1e-6", "norm_eps: float = 1e-5"),
    "positions from 0": ("arange(1, length + 1,", "arange(0, length,"),
    "another wave length": ("10000.0", "1000.0"),
    "columns before rows": ("(rows, columns)", "(columns, rows)"),
    "cosine before sine": ("(angle.sin(), angle.cos())", "(angle.cos(), angle.sin())"),
    "positions in every stage": ("(False, True, False, False)", "(True, True, True, True)"),
    "no positions": ("(False, True, False, False)", "(False, False, False, False)"),
    "splits not chained": ("conv(done[-1] + part)", "conv(part)"),
    "norm before the pool": ("norm(x.mean((2, 3)))", "norm(x.movedim(1, 3)).mean((1, 2))"),
}  # fmt: skip


@pytest.fixture(scope="module")
def timm_logits():
    with torch.no_grad():
        return timm_twin("edgenext_xx_small", loud(XX_SMALL))(image(1, 3, 64, 96))


@pytest.mark.parametrize("mutation", [None, *MUTATIONS])
def test_comparison_with_timm_notices(mutation, timm_logits, monkeypatch):
    source = Path(edgenext.__file__).read_text(encoding="utf-8")
    if mutation is not None:
        right, wrong = MUTATIONS[mutation]
        assert source.count(right) == 1
        source = source.replace(right, wrong)
    module = types.ModuleType("mobilevit_kit.models.mutant")
    module.__package__ = "mobilevit_kit.models"
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look up types
    exec(compile(source, module.__name__, "exec"), module.__dict__)

    model = module.EdgeNext(module.VARIANTS["edgenext_xx_small"])
    loud_weights_(model)
    with torch.no_grad():
        error = relative_error(model.eval()(image(1, 3, 64, 96)), timm_logits)

    assert (error <= TOLERANCE) == (mutation is None)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 95), (96, 40), (224, 160)])
def test_takes_any_size_and_channels(height, width):
    model = loud(TINY, in_channels=2, num_classes=5)
    x = image(3, 2, height, width)

    batch = model(x)

    assert batch.shape == (3, 5)
    assert relative_error(model(x[1:2]), batch[1:2]) <= TOLERANCE


def test_without_classes_gives_the_normed_pool():
    model = loud(TINY, num_classes=0)

    assert model(image(2, 3, 64, 64)).shape == (2, 32)
    assert set(loud(TINY).state_dict()) - set(model.state_dict()) == {
        "head.fc.weight",
        "head.fc.bias",
    }


def test_features_only_gives_the_chosen_maps():
    model = loud(TINY, features_only=True, out_indices=(1, -1))

    shapes = [tuple(m.shape) for m in model(image(1, 3, 64, 96))]

    assert model.feature_channels == (16, 32)
    assert model.feature_strides == (8, 32)
    assert shapes == [(1, 16, 8, 12), (1, 32, 2, 3)]
    with pytest.raises(UsageError, match="0 to 3"):
        EdgeNext(TINY, features_only=True, out_indices=(4,))


def test_refuses_heads_that_do_not_divide_the_width():
    with pytest.raises(UsageError, match="3 heads do not divide 16 channels"):
        EdgeNext(dataclasses.replace(TINY, heads=3))


def test_training_drops_paths_and_reaches_every_parameter():
    torch.manual_seed(0)
    model = loud(TINY, drop=0.2, drop_path=0.3).train()
    x = image(8, 3, 64, 64)

    first, second = model(x), model(x)
    first.square().sum().backward()

    assert not torch.equal(first, second)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name
    assert torch.equal(model.eval()(x), model(x))


def test_layer_scale_starts_near_zero():
    blocks = EdgeNext(TINY).stages[1].blocks

    assert blocks[0].gamma.unique().tolist() == pytest.approx([1e-6])
    assert blocks[1].gamma_xca.unique().tolist() == pytest.approx([1e-6])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2)])
def test_runs_in_half_precision(dtype, tolerance):
    model, x = loud(TINY), image(2, 3, 64, 96)

    with torch.no_grad():
        half = copy.deepcopy(model).to(dtype)(x.to(dtype))
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(x)
        full = model(x)

    assert half.dtype == dtype
    assert relative_error(half.float(), full) <= tolerance
    assert relative_error(mixed.float(), full) <= 4e-2


def test_memory_format_does_not_matter():
    model, x = loud(TINY), image(2, 3, 64, 96)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)

    with torch.no_grad():
        error = relative_error(last(x.to(memory_format=torch.channels_last)), model(x))

    assert error <= TOLERANCE


def test_traces():
    model, x = loud(TINY), image(2, 3, 64, 96)

    assert relative_error(torch.jit.trace(model, x)(x), model(x)) <= TOLERANCE


@pytest.mark.slow
def test_compiles_in_one_graph():
    model, x = loud(TINY), image(2, 3, 64, 96)

    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)

    assert relative_error(compiled(x), model(x)) <= TOLERANCE


@pytest.mark.slow
def test_exports_with_the_encoding_apart_from_the_image():
    model, x = loud(TINY), image(2, 3, 64, 96)

    program = torch.export.export(model, (x,)).run_decompositions()

    assert relative_error(program.module()(x), model(x)) <= TOLERANCE
    from_image = set()
    for node in program.graph.nodes:
        if node.name in program.graph_signature.user_inputs or (
            from_image & set(node.all_input_nodes)
        ):
            from_image.add(node)
    projections = [
        n
        for n in program.graph.nodes
        if any("token_projection_weight" in i.name for i in n.all_input_nodes)
    ]
    assert len(projections) == 1
    assert not from_image & set(projections)
    # Delegates of phones take four dimensions at most.
    tensors = [v for n in program.graph.nodes if isinstance(v := n.meta.get("val"), Tensor)]
    assert max(v.ndim for v in tensors) == 4


@pytest.mark.slow
def test_exports_with_dynamic_shapes():
    model = loud(TINY)
    auto = torch.export.Dim.AUTO

    program = torch.export.export(
        model, (image(2, 3, 64, 96),), dynamic_shapes=({0: auto, 2: auto, 3: auto},)
    )

    x = image(3, 3, 96, 64)
    assert relative_error(program.module()(x), model(x)) <= TOLERANCE


def official_name(name: str) -> str:
    """Our name in mmaaz60/EdgeNeXt: the inverse of the mapping, written from its modules."""
    for pattern, theirs in (
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"\.blocks\.", "."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc", ".pwconv"),
        (r"^head\.norm\.", "norm."),
        (r"^head\.fc\.", "head."),
    ):
        name = re.sub(pattern, theirs, name)
    return name


def test_official_names_map_back():
    own = loud(XX_SMALL).state_dict()
    official = {official_name(name): tensor for name, tensor in own.items()}
    # A sample of the names in the released files.
    assert {
        "downsample_layers.0.1.weight",
        "downsample_layers.3.1.bias",
        "stages.0.1.dwconv.weight",
        "stages.2.0.pwconv2.bias",
        "stages.1.1.pos_embd.token_projection.weight",
        "stages.3.1.convs.2.weight",
        "stages.2.5.norm_xca.bias",
        "stages.2.5.gamma_xca",
        "stages.2.5.xca.temperature",
        "stages.2.5.xca.qkv.bias",
        "norm.weight",
        "head.bias",
    } <= set(official)

    mapped = edgenext.from_official(official)

    EdgeNext(XX_SMALL).load_state_dict(mapped, strict=True)
    assert all(torch.equal(mapped[name], tensor) for name, tensor in own.items())


def test_recognises_official_names():
    own = list(EdgeNext(TINY).state_dict())
    official = [official_name(name) for name in own]
    convnext = [name for name in official if "xca" not in name]

    assert edgenext.is_official(official)
    assert not edgenext.is_official(own)
    assert not edgenext.is_official(convnext)
