"""MobileViT checkpoints of apple/ml-cvnets, renamed to the names of `mobilevit.py`.

The two networks are the same, so this is a renaming, with one exception: cvnets reads photos
with OpenCV, in BGR. The stem's input channels are flipped here, so that the network takes RGB
like every other one of the kit (timm published the same weights, flipped the same way).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# Applied in this order. A cvnets convolution is `<name>.block.{conv,norm}`, an inverted residual
# `layer_i.j.block.<convolution>`, and the last entry of `global_rep` is the closing layer norm.
_RENAMES = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^conv_1\.", "stem."),
        (r"^layer_(\d+)\.", lambda match: f"stages.{int(match[1]) - 1}."),
        (r"^conv_1x1_exp\.", "final_conv."),
        (r"^classifier\.fc\.", "head.fc."),
        (r"\.block\.exp_1x1\.", ".conv1_1x1."),
        (r"\.block\.conv_3x3\.", ".conv2_kxk."),
        (r"\.block\.red_1x1\.", ".conv3_1x1."),
        (r"\.local_rep\.conv_3x3\.", ".conv_kxk."),
        (r"\.local_rep\.conv_1x1\.block\.conv\.", ".conv_1x1."),  # a bare convolution
        (r"\.fusion\.", ".conv_fusion."),
        (r"\.block\.conv\.", ".conv."),
        (r"\.block\.norm\.", ".bn."),
        (r"\.global_rep\.(\d+)\.pre_norm_mha\.0\.", r".transformer.\1.norm1."),
        (r"\.global_rep\.(\d+)\.pre_norm_mha\.1\.qkv_proj\.", r".transformer.\1.attn.qkv."),
        (r"\.global_rep\.(\d+)\.pre_norm_mha\.1\.out_proj\.", r".transformer.\1.attn.proj."),
        (r"\.global_rep\.(\d+)\.pre_norm_ffn\.0\.", r".transformer.\1.norm2."),
        (r"\.global_rep\.(\d+)\.pre_norm_ffn\.1\.", r".transformer.\1.mlp.fc1."),
        (r"\.global_rep\.(\d+)\.pre_norm_ffn\.4\.", r".transformer.\1.mlp.fc2."),
        (r"\.global_rep\.\d+\.(weight|bias)$", r".norm.\1"),
    )
]


def is_official(names: Iterable[str]) -> bool:
    """Whether these are the parameter names of a cvnets MobileViT."""
    return any(".pre_norm_mha." in name for name in names)


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of `mobilevit.py`, for an RGB input.

    Names that a cvnets MobileViT does not have are kept as they are, for the caller to refuse. A
    stem with another number of channels than three has no BGR order to undo.
    """
    renamed = {_rename(name): tensor for name, tensor in state_dict.items()}
    stem = renamed.get("stem.conv.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] == 3:
        renamed["stem.conv.weight"] = stem.flip(1)
    return renamed


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name
