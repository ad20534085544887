"""The survey in eight lines of Python: the rotation families in the first layer of the embedded network."""

import equiscope

model = equiscope.load_model("mini")  # or googlenet, "net.py:factory", any torch.nn.Module
images = equiscope.open_images()  # the embedded photographs; or open_images("photos"), a .tar, an .npz
run = equiscope.survey(
    model, images, ["conv2d0"], transformations=["rotation"], out="equiscope-runs/examples/eight-lines"
)
for family in run.families:
    poses = ", ".join(f"{pose:.0f}°" for pose in sorted(family.poses_deg))
    print(
        f"{family.id}: {family.size} units, score {family.score:.2f}, q {family.q_value:.3f}, poses {poses}"
    )
print(f"report: {run.report}")
