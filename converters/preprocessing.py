"""How a photo becomes a network's input, as data, with the arithmetic that it stands for.

No torch here: the manifest carries this record, and a machine that only measures reads it too.
Opening, resizing and cropping photo files is the front's job (`mobilevit_kit.images`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Preprocessing:
    """Resize to `size` / `crop`, crop the centre, scale to 0..1, subtract mean, divide by std.

    `size` is (height, width) in pixels. `mean` and `std` have one entry a channel, in the order
    that `channel_order` names, for values in 0..1.
    """

    size: tuple[int, int]
    crop: float = 1.0
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr", "grey"] = "rgb"

    @property
    def channels(self) -> int:
        return 1 if self.channel_order == "grey" else 3

    def normalise(self, photos: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (B, H, W, C), RGB or grey, to float32 (B, C, H, W) in the network's range."""
        x = photos.astype(np.float32) / np.float32(255)
        if self.channel_order == "bgr":
            x = x[..., ::-1]
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return np.ascontiguousarray(((x - mean) / std).transpose(0, 3, 1, 2), np.float32)
