"""Small networks of each kind of block, as the common libraries build them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from equiscope.models import Model


class BasicBlock(nn.Module):
    """ResNet's: two convolutions beside a way past them."""

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, n_out, 3, stride, 1), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = nn.Conv2d(n_out, n_out, 3, 1, 1), nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        is_same = stride == 1 and n_in == n_out
        self.downsample = (
            None if is_same else nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    """A stem, stages of blocks, a classifier, as torchvision's."""

    def __init__(self, widths: tuple[int, ...] = (8, 12), stem: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, widths[0], stem, 2, stem // 2), nn.BatchNorm2d(widths[0])
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.n_stages = len(widths)
        for i, (n_in, n_out) in enumerate(zip((widths[0], *widths), widths, strict=False), 1):
            blocks = BasicBlock(n_in, n_out, 1 if i == 1 else 2), BasicBlock(n_out, n_out)
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
        self.fc = nn.Linear(widths[-1], 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(1, self.n_stages + 1):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((2, 3)))


class InvertedResidual(nn.Module):
    """EfficientNet's: wider, depthwise, gated, narrower; past it only where sides and channels stay."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv_pw, self.bn1 = nn.Conv2d(n_in, 2 * n_in, 1), nn.BatchNorm2d(2 * n_in)
        self.conv_dw = nn.Conv2d(2 * n_in, 2 * n_in, 3, stride, 1, groups=2 * n_in)
        self.reduce, self.expand = nn.Conv2d(2 * n_in, 2, 1), nn.Conv2d(2, 2 * n_in, 1)
        self.conv_pwl, self.bn3 = nn.Conv2d(2 * n_in, n_out, 1), nn.BatchNorm2d(n_out)
        self.has_skip = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv_dw(torch.relu(self.bn1(self.conv_pw(x)))).relu()
        out = self.bn3(
            self.conv_pwl(out * self.expand(self.reduce(out.mean((2, 3), keepdim=True))).sigmoid())
        )
        return out + x if self.has_skip else out


class EfficientNet(nn.Module):
    """Stages of inverted residuals between a stem and a head of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6)
        stages = [[(6, 8, 2), (8, 8, 1)], [(8, 10, 2), (10, 10, 1)]]
        self.blocks = nn.Sequential(
            *(nn.Sequential(*(InvertedResidual(*own) for own in stage)) for stage in stages)
        )
        self.conv_head, self.bn2 = nn.Conv2d(10, 16, 1), nn.BatchNorm2d(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(x)).relu()))).mean((2, 3))


class DenseLayer(nn.Module):
    """DenseNet's: puts what came before side by side, and computes a few more channels."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(n_in), nn.Conv2d(n_in, 4, 3, 1, 1)

    def forward(self, given: list[Tensor]) -> Tensor:
        return self.conv1(self.norm1(torch.cat(given, 1)).relu())


class DenseBlock(nn.ModuleDict):
    """All that its layers computed, beside what came in."""

    def __init__(self, n_in: int) -> None:
        super().__init__({f"denselayer{i}": DenseLayer(n_in + 4 * i) for i in range(3)})

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class Inception(nn.Module):
    """Branches side by side."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.branch1, self.branch2 = (
            nn.Conv2d(n_in, 4, 1),
            nn.Sequential(nn.Conv2d(n_in, 4, 1), nn.Conv2d(4, 4, 3, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x)], 1)


class Outer(nn.Module):
    """Residual blocks within a residual block."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.first, self.second = BasicBlock(n, n), BasicBlock(n, n)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.second(self.first(x))


class LongWay(nn.Module):
    """A whole network with one way past all of it."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Attention(nn.Module):
    """A block of a transformer whose tokens lie in a grid, channels last, as Swin's: it has no convolution."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n, n)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(x)


class Last(nn.Module):
    """Channels to the end."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


def plain() -> nn.Module:
    """Convolutions one after the other, as VGG."""
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU())


def resnet18(file: Path) -> Model:
    """ResNet-18 of torchvision up to its third stage, normalisations folded into the convolutions."""
    module = ResNet((64, 128, 256), stem=7)
    for name, own in list(module.named_modules()):
        for child, _ in own.named_children():
            if child.startswith("bn"):
                setattr(own, child, nn.Identity())
        if name.endswith("downsample") and isinstance(own, nn.Sequential):
            own[1] = nn.Identity()
    module.fc = nn.Identity()
    with np.load(file) as arrays:
        module.load_state_dict({name: torch.from_numpy(arrays[name]).float() for name in arrays.files})
    mean, sd = (torch.tensor(own).view(3, 1, 1) for own in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return Model(module.eval(), "resnet18", lambda images: (images - mean) / sd, input_size_px=224)
