"""Survey a network of one's own on a folder of one's own images.

The network is one convolution with known families: six arcs and four bars, each turned by angles that are not evenly
spaced, among five patterns of their own. The images are drawn on the fly, 96 x 80 px, overlapping ellipses of random
colours. The survey sees neither the angles nor which unit is which.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

import equiscope

ARC_POSES_DEG = (0, 35, 80, 150, 215, 300)
BAR_POSES_DEG = (0, 30, 75, 120)  # a bar looks the same after half a turn
SIZE_PX = 15


def draw_images(folder: Path, n_images: int, rng: np.random.Generator) -> None:
    """Fill a folder with pictures of overlapping ellipses."""
    for index in range(n_images):
        picture = Image.new("RGB", (96, 80))
        draw = ImageDraw.Draw(picture)
        for _ in range(120):
            x, y, width, height = rng.integers((-10, -10, 6, 6), (96, 80, 40, 40)).tolist()
            colour = tuple(rng.integers(0, 256, 3).tolist())
            draw.ellipse((x, y, x + width, y + height), fill=colour)
        picture.save(folder / f"{index:03d}.png")


def turned_kernel(pattern: str, pose_deg: float) -> torch.Tensor:
    """Sample an arc or a bar, turned counter-clockwise by its pose, shape (y, x)."""
    axis = torch.arange(SIZE_PX) - (SIZE_PX - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle = torch.deg2rad(torch.tensor(float(pose_deg)))
    # Rows grow downwards, so this looks the content up clockwise: the pattern turns counter-clockwise on screen.
    y, x = torch.cos(angle) * y + torch.sin(angle) * x, torch.cos(angle) * x - torch.sin(angle) * y
    distance = torch.hypot(x, y + 4) - 4 if pattern == "arc" else y
    squared = (distance / 1.2) ** 2
    kernel = (1 - squared) * torch.exp(-squared / 2) * torch.exp(-((x**2 + y**2) / 32))
    return kernel - kernel.mean()


def build_network(rng: np.random.Generator) -> nn.Module:
    """Build the convolution: RGB in [0, 1] in, fifteen units out, before their ReLU."""
    kernels = [turned_kernel("arc", pose) for pose in ARC_POSES_DEG]
    kernels += [turned_kernel("bar", pose) for pose in BAR_POSES_DEG]
    noise = torch.from_numpy(rng.normal(size=(5, 1, SIZE_PX, SIZE_PX))).float()
    smooth = nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)[:, 0]
    kernels += list(smooth - smooth.mean((1, 2), keepdim=True))
    convolution = nn.Conv2d(3, len(kernels), SIZE_PX)
    with torch.no_grad():
        stacked = torch.stack([kernel / kernel.norm() for kernel in kernels])
        convolution.weight.copy_(stacked[:, None].expand(-1, 3, -1, -1) / 3)
        convolution.bias.fill_(-0.2)
    return nn.Sequential(convolution, nn.ReLU())


def main() -> None:
    """Draw the images, survey the network, compare what was found with what is there."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        photographs = Path(folder, "images")
        photographs.mkdir()
        draw_images(photographs, 60, rng)
        network = equiscope.Model(build_network(rng), name="own", default_layers=["0"])
        run = equiscope.survey(network, photographs, transformations=["rotation"], out=Path(folder, "run"))
    for family in run.families:
        print(f"{family.id}: score {family.score:.2f}, repeats after {360 // len(family.stabiliser)}°")
        for member in family.members:
            print(f"  unit {member.channel}: pose {member.pose['angle_deg']:.1f}°, score {member.score:.2f}")
    found = {tuple(family.channels.tolist()): family.poses_deg for family in run.families}
    n_arcs, n_bars = len(ARC_POSES_DEG), len(BAR_POSES_DEG)
    arcs, bars = tuple(range(n_arcs)), tuple(range(n_arcs, n_arcs + n_bars))
    print(f"arcs as they are: {ARC_POSES_DEG}; bars: {BAR_POSES_DEG}")
    assert set(found) == {arcs, bars}, f"expected the units {arcs} and {bars}, found {list(found)}"
    assert np.abs(found[arcs] - ARC_POSES_DEG).max() < 3
    assert np.abs(found[bars] - BAR_POSES_DEG).max() < 3


if __name__ == "__main__":
    main()
