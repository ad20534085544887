"""Train ``mini``, the network that is embedded in the package, on 100 classes of Tiny ImageNet.

    python reproduce/train_mini.py --data tiny_imagenet_100.npz --out mini.safetensors

The stem is learned in partly *whitened* coordinates, in the space of the strongest principal components of 7x7 RGB
patches: its kernels are ``v @ diag(variance^-power) @ components`` and weight decay acts on ``v``. Gradient descent in
pixel coordinates sees almost only the lowest spatial frequencies of natural images and ends in blobs; with all
components whitened it ends in single dots and pixel noise (both were tried, see LOG.md). The product is an ordinary
convolution: nothing of this is left in the saved network, and batch-norm is folded as well.

Deterministic for a seed on one machine with one thread count.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from equiscope.models.mini import Mini, build, normalise

CROP_PX = 56
KERNEL_PX = 7
# Side of the training crops as training goes on: small ones first cost a half, and the features are local.
CROP_SCHEDULE = ((0.4, 40), (0.73, 48), (1.0, CROP_PX))


class Whitened(nn.Module):
    """Parametrisation of a kernel by its whitened coordinates."""

    whitening: Tensor

    def __init__(self, whitening: Tensor) -> None:
        super().__init__()
        self.register_buffer("whitening", whitening)

    def forward(self, v: Tensor) -> Tensor:
        return (v @ self.whitening).view(len(v), 3, KERNEL_PX, KERNEL_PX)


def load_split(archive: np.lib.npyio.NpzFile, split: str) -> tuple[Tensor, Tensor]:
    """Decode all images of a split: uint8 (image, 3, 64, 64) and labels."""
    data, offset = archive[f"{split}_jpeg"].tobytes(), archive[f"{split}_offset"]
    images = [
        np.asarray(Image.open(io.BytesIO(data[a:b])).convert("RGB"))
        for a, b in zip(offset[:-1], offset[1:], strict=True)
    ]
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return stacked, torch.from_numpy(archive[f"{split}_label"].astype(np.int64))


def patch_whitening(
    images: Tensor, size_px: int, n_components: int, power: float, generator: torch.Generator
) -> Tensor:
    """Principal components of normalised patches times their variance to ``-power``: (component, pixel)."""
    chosen = images[torch.randperm(len(images), generator=generator)[:2000]].float() / 255
    patches = F.unfold(normalise(chosen), size_px, stride=5).permute(0, 2, 1).reshape(-1, 3 * size_px**2)
    patches = patches.double() - patches.double().mean(0)
    covariance = patches.T @ patches / len(patches)
    values, vectors = torch.linalg.eigh(covariance)
    kept = torch.argsort(values, descending=True)[:n_components]
    return (vectors[:, kept] * values[kept] ** -power).T.float()


def with_batch_norm(network: nn.Module) -> nn.Module:
    """Put a batch-norm behind every convolution, in place; convolutions lose their bias."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.Conv2d):
            child.bias = None
            setattr(network, name, nn.Sequential(child, nn.BatchNorm2d(child.out_channels)))
        else:
            with_batch_norm(child)
    return network


def fold_batch_norm(network: nn.Module) -> dict[str, Tensor]:
    """State dict of the plain network: batch-norm folded into kernels and biases, float16."""
    state = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            convolution, norm = module
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            state[f"{name}.weight"] = convolution.weight * scale.view(-1, 1, 1, 1)
            state[f"{name}.bias"] = norm.bias - norm.running_mean * scale
        elif isinstance(module, nn.Linear):
            state[f"{name}.weight"], state[f"{name}.bias"] = module.weight, module.bias
    return {name: tensor.detach().half().contiguous() for name, tensor in state.items()}


def augment(batch: Tensor, crop_px: int, generator: torch.Generator) -> Tensor:
    """Random crop, mirror, brightness and contrast of uint8 images; returns normalised float32."""
    n, slack = len(batch), batch.shape[-1] - crop_px
    tops, lefts = torch.randint(0, slack + 1, (2, n), generator=generator)
    crops = torch.stack(
        [
            image[:, top : top + crop_px, left : left + crop_px]
            for image, top, left in zip(batch, tops.tolist(), lefts.tolist(), strict=True)
        ]
    ).float()
    mirrored = torch.rand(n, generator=generator) < 0.5
    crops[mirrored] = crops[mirrored].flip(-1)
    contrast = 1 + 0.4 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    shift = 0.2 * (torch.rand(n, 1, 1, 1, generator=generator) - 0.5)
    return (normalise(crops / 255) * contrast + shift).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy on centre crops."""
    network.eval()
    edge = (images.shape[-1] - CROP_PX) // 2
    right = 0
    for start in range(0, len(images), 500):
        crop = images[start : start + 500, :, edge : edge + CROP_PX, edge : edge + CROP_PX].float() / 255
        right += int((network(normalise(crop)).argmax(1) == labels[start : start + 500]).sum())
    network.train()
    return right / len(images)


def main() -> None:
    """Train, log one line an epoch, and keep the network after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=13)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.15)
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--stem-weight-decay", type=float, default=5e-3)
    parser.add_argument("--components", type=int, default=42)
    parser.add_argument("--whitening-power", type=float, default=0.25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    archive = np.load(options.data)
    images, labels = load_split(archive, "train")
    val_images, val_labels = load_split(archive, "val")

    network = with_batch_norm(Mini(n_classes=int(labels.max()) + 1))
    stem = network.conv2d0[0]
    whitening = patch_whitening(images, KERNEL_PX, options.components, options.whitening_power, generator)
    # Registered on a tensor of the components' shape, which then is the parameter that is learned.
    stem.weight = nn.Parameter(torch.zeros(stem.out_channels, options.components))
    parametrize.register_parametrization(stem, "weight", Whitened(whitening), unsafe=True)
    # Batch-norm makes the scale irrelevant to the output but not to the gradient, which grows as the kernel
    # shrinks: from a small start, what is learned soon outweighs the noise it started from.
    with torch.no_grad():
        stem.parametrizations.weight.original.normal_(std=0.002)
    network = network.to(memory_format=torch.channels_last)
    decayed = [p for n, p in network.named_parameters() if p.ndim > 1 and not n.startswith("conv2d0")]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": options.weight_decay},
            {"params": [stem.parametrizations.weight.original], "weight_decay": options.stem_weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=options.learning_rate,
        momentum=0.9,
        nesterov=True,
    )
    steps = len(images) // options.batch
    total = steps * options.epochs
    warm = 2 * steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: min(1.0, (s + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, s / total))),
    )
    started = time.time()
    for epoch in range(options.epochs):
        order = torch.randperm(len(images), generator=generator)
        loss_sum = 0.0
        crop_px = next(px for share, px in CROP_SCHEDULE if epoch < share * options.epochs)
        for step in range(steps):
            chosen = order[step * options.batch : (step + 1) * options.batch]
            batch = augment(images[chosen], crop_px, generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(batch)
            loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.1)
            if not torch.isfinite(loss):
                raise SystemExit(f"the loss is {loss.item()} at epoch {epoch + 1}, step {step + 1}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            loss_sum += loss.item()
        report = {
            "epoch": epoch + 1,
            "loss": round(loss_sum / steps, 4),
            "val_top1": round(accuracy(network, val_images, val_labels), 4),
            "seconds": round(time.time() - started),
        }
        print(json.dumps(report), flush=True)
        save_file(fold_batch_norm(network), options.out)
    # The figure to quote: the network as it is shipped, batch-norm folded and rounded to float16.
    shipped = build(options.out).module
    print(json.dumps({"shipped_val_top1": accuracy(shipped, val_images, val_labels)}), flush=True)


if __name__ == "__main__":
    main()
