"""Implementations that we did not write, imported so that they load beside a CPU build of torch.

timm imports torchvision, whose registry build carries no operators for the CPU build of torch;
its import only needs two of them to be known by name.
"""

import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")  # the definitions die with this object
for _schema in (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
):
    _LIBRARY.define(_schema)

import timm  # noqa: E402

__all__ = ["timm"]
