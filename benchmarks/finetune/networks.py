"""Small networks for images of digits and for text: one of each kind that the comparison asks about."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def normed(inside: int, outside: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution and its batch norm."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outside)
    )


class Residual(nn.Module):
    """A basic block of ResNet (He et al. 2016)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = normed(inside, outside, 3, stride)
        self.second = normed(outside, outside, 3)
        same = inside == outside and stride == 1
        self.shortcut = nn.Identity() if same else normed(inside, outside, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first(x))
        return functional.relu(self.second(inner) + self.shortcut(x))


class Inverted(nn.Module):
    """An inverted bottleneck with a depthwise convolution (MobileNet-V2: Sandler et al. 2018)."""

    def __init__(self, inside: int, outside: int, stride: int, wider: int = 4) -> None:
        super().__init__()
        self.expand = normed(inside, wider * inside, 1)
        self.depthwise = normed(wider * inside, wider * inside, 3, stride, wider * inside)
        self.project = normed(wider * inside, outside, 1)
        self.same = inside == outside and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu6(self.depthwise(functional.relu6(self.expand(x))))
        out: Tensor = self.project(inner)
        return x + out if self.same else out


class Attending(nn.Module):
    """A block of a transformer, norms first."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        split = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*split, is_causal=self.causal)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        out: Tensor = x + self.down(functional.gelu(self.up(self.norm2(x))))
        return out


class Vision(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) on patches of 4 x 4, averaged at the end."""

    def __init__(self, width: int = 48, depth: int = 4, heads: int = 4, classes: int = 10) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 4, 4)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 49, width))
        self.blocks = nn.Sequential(*(Attending(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        out: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return out


class Decoder(nn.Module):
    """A causal language model; its embedding is not shared with its last layer."""

    def __init__(self, symbols: int, length: int, width: int = 64, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.symbols = nn.Embedding(symbols, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, length, width))
        self.blocks = nn.Sequential(*(Attending(width, heads, causal=True) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, symbols)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.symbols(codes) + self.positions[:, : codes.shape[1]]
        out: Tensor = self.head(self.norm(self.blocks(x)))
        return out


def _scene_map(last: nn.Module) -> nn.Sequential:
    """12 x 12 places of a scene of 48 x 48, of 32 channels, and what is made of them."""
    return nn.Sequential(normed(1, 16, 3, 2), nn.ReLU(), Residual(16, 24, 2), Residual(24, 32, 1), last)


def segmenter(classes: int = 11) -> nn.Module:
    """Scores of the classes at each pixel of a scene."""
    last = nn.Sequential(nn.Conv2d(32, 16 * classes, 1), nn.PixelShuffle(4))
    return _scene_map(last)


def detector(classes: int = 10) -> nn.Module:
    """At each place four distances, and scores of the classes, which start at 1 % (Lin et al. 2017)."""
    last = nn.Conv2d(32, classes + 4, 1)
    with torch.no_grad():
        last.bias[:classes] = -math.log(99)  # type: ignore[index]
        last.bias[classes:] = 1.5  # type: ignore[index]  # about half a digit
    return _scene_map(last)


def resnet(classes: int = 10) -> nn.Module:
    """Three residual blocks of 16, 32 and 48 channels."""
    return nn.Sequential(
        normed(1, 16, 3, 2),
        nn.ReLU(),
        Residual(16, 16, 2),
        Residual(16, 32, 2),
        Residual(32, 48, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, classes),
    )


def mobile(classes: int = 10) -> nn.Module:
    """Five inverted bottlenecks of 16, 24 and 40 channels."""
    return nn.Sequential(
        normed(1, 16, 3, 2),
        nn.ReLU6(),
        Inverted(16, 16, 2),
        Inverted(16, 24, 1),
        Inverted(24, 24, 1),
        Inverted(24, 40, 2),
        Inverted(40, 40, 1),
        normed(40, 96, 1),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, classes),
    )


class Enlarged(nn.Module):
    """A network for colour photographs on grey images of 28 x 28, every pixel of which becomes 2 x 2 of 64 x 64.

    The network gets (255 x - 127) / 128, as EfficientNet-Lite0 was trained with.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(functional.pad(x, (2, 2, 2, 2)), scale_factor=2)
        out: Tensor = self.network(((255 * x - 127) / 128).expand(-1, 3, -1, -1))
        return out
