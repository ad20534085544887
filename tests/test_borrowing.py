"""Whatever a forward pass does to a borrowed network, the network and the random state are the same bits afterwards."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from equiscope import ImageSet, Run, open_images, survey
from equiscope.construction.budget import estimate_budget
from equiscope.evidence.circuits import recover_circuits
from equiscope.evidence.circuits.gradients import _slopes
from equiscope.evidence.circuits.paths import expanded_weights
from equiscope.evidence.circuits.running import run_to
from equiscope.evidence.compare.runs import compare_runs
from equiscope.evidence.effective_fields import _energies
from equiscope.evidence.featurevis import visualise_run, visualise_units
from equiscope.evidence.verify.whole_run import verify_run
from equiscope.evidence.witnesses.image_kernels import read_image_kernels
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.options import Options
from equiscope.models import Model
from equiscope.models.controls import random_weights, shuffled_kernels
from equiscope.models.geometry import find_geometry
from equiscope.testing import planted_circuits, sample_crops


class Careless(nn.Module):
    """Does something to itself in each pass, before or after its convolution."""

    def __init__(
        self, before: Callable[[Careless, Tensor], None], after: Callable[[Careless, Tensor], None]
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(4, 2, 1)
        self.register_buffer("least", torch.tensor(float("inf")))
        self.register_buffer("seen", torch.zeros(0))
        self.scale = torch.ones(4, 1, 1)
        self.n_runs, self.history = 0, [0.5]
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        self.before(self, x)
        x = self.norm(self.conv(x)) * self.scale
        self.after(self, x)
        return self.last(x)


def nothing(_net: Careless, _x: Tensor) -> None:
    pass


def lowers(net: Careless, x: Tensor) -> None:
    net.least.copy_(torch.minimum(net.least, x.amin()))


def resizes(net: Careless, x: Tensor) -> None:
    net.seen.resize_(x.numel()).copy_(x.flatten())


def replaces_a_buffer(net: Careless, x: Tensor) -> None:
    net.seen = x.flatten()


def drops_a_buffer(net: Careless, _x: Tensor) -> None:
    del net._buffers["least"]


def writes_unseen(net: Careless, x: Tensor) -> None:
    net.norm.running_mean.data.add_(x.mean())


def clamps_unseen(net: Careless, _x: Tensor) -> None:
    net.conv.weight.data.clamp_(-0.05, 0.05)


def renormalises(net: Careless, _x: Tensor) -> None:
    net.conv.weight.data = torch.renorm(net.conv.weight.data, 2, 0, 0.1)


def replaces_a_parameter(net: Careless, _x: Tensor) -> None:
    net.last.weight = nn.Parameter(net.last.weight.detach() * 1.5)


def changes_in_place(net: Careless, _x: Tensor) -> None:
    with torch.no_grad():
        net.last.weight.mul_(1.5)


def changes_an_attribute(net: Careless, _x: Tensor) -> None:
    net.scale.mul_(2)
    net.late = torch.ones(3)


def replaces_an_attribute(net: Careless, x: Tensor) -> None:
    net.scale = net.scale * 2
    net.n_runs += 1
    net.history.append(float(x.sum()))


def trains(net: Careless, _x: Tensor) -> None:
    net.norm.train()


def hooks(net: Careless, _x: Tensor) -> None:
    net.conv.register_forward_hook(lambda _m, _i, output: output + 1)
    net.last.register_forward_pre_hook(lambda _m, inputs: inputs)


def freezes(net: Careless, _x: Tensor) -> None:
    net.conv.requires_grad_(False)
    net.last.weight.grad = torch.ones_like(net.last.weight)


def builds(net: Careless, _x: Tensor) -> None:
    net.extra = nn.Conv2d(4, 4, 1)
    net.unused = nn.Identity()


def draws(_net: Careless, _x: Tensor) -> None:
    random.random()  # noqa: S311
    np.random.rand(3)  # noqa: NPY002
    torch.rand(3)
    torch.manual_seed(3)


CHANGES = [
    lowers, resizes, replaces_a_buffer, drops_a_buffer, writes_unseen, clamps_unseen, renormalises,
    replaces_a_parameter, changes_in_place, changes_an_attribute, replaces_an_attribute, trains, hooks, freezes, builds,
    draws,
]  # fmt: skip


def state_of(module: nn.Module) -> dict[str, Any]:
    """All that a pass could change: objects, bits, shapes, flags, hooks and the random state."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tobytes(),  # noqa: NPY002
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
    for name, part in module.named_modules():
        for key, value in part.__dict__.items():
            inner = value.items() if isinstance(value, dict) else [(None, value)]
            state[f"{name}.{key}"] = type(part), [key for key, _ in inner], [id(v) for _, v in inner]
            for own, tensor in inner:
                if isinstance(tensor, Tensor):
                    bits = tensor.detach().clone().numpy().tobytes()
                    place = tensor.data_ptr() if tensor.numel() else 0
                    state[f"{name}.{key}.{own}"] = (
                        bits, place, tensor.shape, tensor.stride(), tensor.requires_grad, tensor.grad,
                    )  # fmt: skip
        state[f"{name} history"] = list(getattr(part, "history", []))
    return state


def model_of(change: Callable[[Careless, Tensor], None], when: str) -> Model:
    torch.manual_seed(0)
    module = Careless(change if when == "before" else nothing, change if when == "after" else nothing)
    module.train()
    module.conv.eval()
    return Model(module, "careless")


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 11, 14, generator=torch.Generator().manual_seed(1))


def use(name: str, model: Model, images: Tensor) -> object:
    if name == "record":
        return model.record(images, ["norm"])
    if name == "run":
        with torch.no_grad():
            return model.run(images)
    if name == "path":
        return run_to(model, images, "last", {})
    if name == "default layers":
        return model.resolve_layers()
    return find_geometry(model, ["conv"])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_network_and_the_random_state_are_the_same_bits_after_every_use(
    change: Callable[[Careless, Tensor], None], when: str, images: Tensor
) -> None:
    for name in ("record", "run", "path", "default layers", "geometry"):
        model = model_of(change, when)
        before = state_of(model.module)
        use(name, model, images)
        after = state_of(model.module)
        assert {key for key in {*before, *after} if before.get(key) != after.get(key)} == set(), name


@pytest.mark.parametrize("change", CHANGES)
def test_each_of_these_changes_is_one(change: Callable[[Careless, Tensor], None], images: Tensor) -> None:
    module = model_of(change, "before").module
    before = state_of(module)
    with torch.no_grad():
        module(images)
    after = state_of(module)
    module_draws = {key for key in ("python", "numpy", "torch") if before[key] != after[key]}
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} - {
        "norm.num_batches_tracked"
    }
    assert (module_draws != set()) == (change in (draws, builds))


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_pass_leaves_behind_does_not_reach_the_next(
    change: Callable[[Careless, Tensor], None], images: Tensor
) -> None:
    model = model_of(change, "after")
    alone = model.record(images, ["norm"])["norm"]
    with model.evaluating():
        for _ in range(3):
            assert torch.equal(model.record(images, ["norm"])["norm"], alone)
            model.record(images * torch.nan, ["last"])
        before = state_of(model.module)
        model.record(images, ["last"])
        assert state_of(model.module) == before


def test_it_is_put_back_when_the_pass_raises(images: Tensor) -> None:
    def fails(net: Careless, x: Tensor) -> None:
        for change in CHANGES:
            change(net, x)
        raise ValueError("sides must be multiples of 32")

    model = model_of(fails, "before")
    before = state_of(model.module)
    with pytest.raises(ValueError, match="multiples of 32"):
        model.record(images, ["last"])
    assert state_of(model.module) == before


def test_observers_forget_the_nan_that_they_were_shown(images: Tensor) -> None:
    from torch.ao.quantization import FakeQuantize, MinMaxObserver

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        MinMaxObserver(),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        FakeQuantize(),
        nn.Conv2d(4, 4, 1),
    ).eval()
    with torch.no_grad():
        module(images)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    assert all(before[name].isfinite() for name in ("1.min_val", "4.activation_post_process.min_val"))
    model = Model(module)
    recorded = model.record(images, ["5"])["5"]
    find_geometry(model, ["0", "3"])
    with model.evaluating():
        model.record(images * torch.nan, ["5"])
        assert torch.equal(model.record(images, ["5"])["5"], recorded)
    after = module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_network_that_folds_its_weights_for_evaluation_is_unfolded_again(images: Tensor) -> None:
    class Adapted(nn.Conv2d):
        """A convolution with an addition that evaluation folds into its weights, as adapters of low rank do."""

        is_folded = False

        def __init__(self) -> None:
            super().__init__(3, 4, 3)
            self.addition = nn.Parameter(torch.ones_like(self.weight))

        def train(self, mode: bool = True) -> Adapted:
            if not mode and not self.is_folded:
                self.weight.data.add_(self.addition)
            self.is_folded = not mode
            return super().train(mode)

    module = nn.Sequential(Adapted()).train()
    before = state_of(module)
    wanted = nn.functional.conv2d(images, module[0].weight + 1, module[0].bias)
    model = Model(module)
    with model.evaluating():
        for _ in range(3):
            torch.testing.assert_close(model.record(images, ["0"])["0"], wanted)
    assert state_of(module) == before


def test_nan_and_signs_of_zero_are_bits(images: Tensor) -> None:
    def negates(net: Careless, _x: Tensor) -> None:
        net.least.neg_()
        net.seen.neg_()

    model = model_of(negates, "after")
    model.module.least.fill_(float("nan"))
    model.module.seen = torch.tensor([0.0, -0.0])
    before = state_of(model.module)
    model.record(images, ["last"])
    assert state_of(model.module) == before


def test_a_network_that_has_not_seen_its_first_input_is_refused() -> None:
    with pytest.raises(
        EquiscopeError, match=r"lazy has no weights yet \(0.weight waits for the shape.*load them"
    ):
        Model(nn.Sequential(nn.LazyConv2d(4, 3)), "lazy")
    module = nn.Sequential(nn.LazyConv2d(4, 3))
    module(torch.zeros(1, 3, 8, 8))
    assert Model(module).record(torch.zeros(1, 3, 8, 8), ["0"])["0"].shape == (1, 4, 6, 6)


def test_a_large_parameter_that_is_written_unseen_is_put_back_at_the_end(images: Tensor) -> None:
    class Clamped(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            self.weight.data.clamp_(-0.01, 0.01)
            return super().forward(x)

    module = nn.Sequential(nn.Conv2d(3, 128, 1), Clamped(128, 128, 3))
    before = state_of(module)
    model = Model(module)
    with model.evaluating():
        model.record(images, ["1"])
    assert state_of(module) == before


class Restless(nn.Module):
    """Answers as its layers do, and changes itself in each pass in many ways at once."""

    def __init__(self, early: nn.Module, late: nn.Module) -> None:
        super().__init__()
        self.early, self.late = early, late
        self.register_buffer("least", torch.tensor(float("inf")))
        self.register_buffer("seen", torch.zeros(0))
        self.history: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.late(torch.relu(self.early(x)))
        finally:  # also when the pass is left early
            for change in (lowers, resizes, draws):
                change(self, x.detach())  # type: ignore[arg-type]
            self.history.append(1.0)
            for part in (self.early, self.late):
                if not torch.is_grad_enabled():  # a gradient would be one of other weights
                    part.weight.mul_(1.5)
                part.requires_grad_(False)
                part.register_forward_hook(lambda _m, _i, output: output + 1)
            self.train()


@pytest.fixture(scope="module")
def restless() -> Model:
    planted = planted_circuits().model.module
    return Model(Restless(planted.early, planted.late), "restless", default_layers=("early", "late"))


@pytest.fixture(scope="module")
def surveyed(restless: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, ImageSet]:
    """Two surveys of the network with other halves, and their images."""
    folder = tmp_path_factory.mktemp("borrowing")
    np.savez(folder / "crops.npz", images=sample_crops())
    images = open_images(folder / "crops.npz")
    before = state_of(restless.module)
    runs = [
        survey(
            restless, images, out=folder / f"run{seed}", seed=seed, transformations="rotation", angles=8, n_null=3,
            false_discovery_rate=0.3, precision="float32",
        )
        for seed in (0, 1)
    ]  # fmt: skip
    assert runs[0].families
    assert changed(before, state_of(restless.module)) == set()
    return runs[0], runs[1], images


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


COMMANDS: dict[str, Callable[[Model, Run, Run, ImageSet], object]] = {
    "verify": lambda model, run, _other, _images: verify_run(run, model),
    "circuits": lambda model, run, _other, images: recover_circuits(run, model, images, n_draws=5),
    "featurevis": lambda model, run, _other, _images: visualise_run(run, model, steps=1, n_null=0),
    "budget": lambda model, run, _other, _images: estimate_budget(run, model, n_resamples=5),
    "compare": lambda model, run, other, images: compare_runs(
        run, model, other, model, images, n_draws=2, options=Options(precision="float32")
    ),
    "layers": lambda model, _run, _other, _images: find_geometry(model, model.resolve_layers(["*"])),
    "-shuffled": lambda model, _run, _other, _images: shuffled_kernels(model),
    "-random": lambda model, _run, _other, _images: random_weights(model),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_network_and_the_random_state_are_the_same_bits_after_every_command(
    command: str, restless: Model, surveyed: tuple[Run, Run, ImageSet]
) -> None:
    run, other, images = surveyed
    before = state_of(restless.module)
    COMMANDS[command](restless, run, other, images)
    assert changed(before, state_of(restless.module)) == set()


class Retroactive(nn.Module):
    """Changes itself in the backward pass, by a hook of its own on the last module that the pass leaves."""

    def __init__(self, early: nn.Module, late: nn.Module, hooked: str) -> None:
        super().__init__()
        self.first, self.early, self.between, self.late = nn.Identity(), early, nn.ReLU(), late
        self.register_buffer("seen", torch.zeros(()))
        self.n_runs = 0
        self.get_submodule(hooked).register_full_backward_hook(self.change)

    def change(self, *_: object) -> None:
        self.n_runs += 1
        for value in (self.seen, self.early.weight.data, self.late.weight.data):
            value.mul_(1.5).add_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.between(self.early(self.first(x))))  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:Full backward hook")
@pytest.mark.parametrize("n_between", [4, 16], ids=["small", "large"])
@pytest.mark.parametrize("use", ["image", "path", "gradient", "optimised", "effective field"])
def test_what_a_backward_pass_does_is_put_back_before_the_next_pass(
    use: str, n_between: int, images: Tensor
) -> None:
    """More units than one pass asks about, so that a change would reach those that are asked later.

    As inside a survey, where the network is borrowed for long: values of small tensors are always compared, those of
    the larger one (21,600) must be, too.
    """
    torch.manual_seed(0)
    early, late = nn.Conv2d(3, n_between, 3), nn.Conv2d(n_between, 150, 3)
    if use == "image":  # of a first layer alone, so that is the one of many units
        early, late = nn.Conv2d(3, 100, 3 if n_between == 4 else 9), nn.Conv2d(100, 2, 1)
    hooked = "between" if use in ("path", "gradient") else "first"
    plain, other = Model(nn.Sequential(early, nn.ReLU(), late)), Model(Retroactive(early, late, hooked))

    def read(model: Model, first: str, last: str) -> Any:
        geometry = find_geometry(model, [first, last])
        if use == "image":
            kernels = read_image_kernels(model, geometry[first])
            assert kernels is not None
            return kernels
        if use == "path":
            return expanded_weights(model, geometry[first], geometry[last]).weights
        if use == "optimised":
            seen = visualise_units(model, last, [3, 140], geometry=geometry[last], steps=3)
            return seen.images.numpy()
        patches = images[:, :, :5, :5]
        if use == "effective field":
            return [_energies(model, geometry[last], patches.clone(), np.array([3, unit])) for unit in (5, 9)]
        slopes = [
            _slopes(model, patches.clone(), torch.tensor([unit] * 2), [first], geometry[last], torch.float32)
            for unit in (3, 140)
        ]
        return np.stack([slope[first].numpy() for slope in slopes])

    before = state_of(other.module)
    with other.evaluating():
        found = read(other, "early", "late")
        within = changed(before, state_of(other.module))
    assert {
        key for key in within if key.count(".") == 2 and key.endswith(("weight", "bias", "seen"))
    } == set()
    assert changed(before, state_of(other.module)) == set()
    np.testing.assert_array_equal(found, read(plain, "0", "2"))


class Fading(nn.Conv2d):
    """A large convolution that scales its kernels behind the version counter, from its first or a later pass on."""

    def __init__(self, first: int) -> None:
        super().__init__(64, 64, 3)
        self.first, self.passes = first, itertools.count(1)  # counted outside of what a block puts back

    def forward(self, x: Tensor) -> Tensor:
        if next(self.passes) >= self.first:
            self.weight.data.mul_(0.5)
        return super().forward(x)


def test_a_large_parameter_that_every_pass_writes_unseen_is_the_given_one_in_each(images: Tensor) -> None:
    module = nn.Sequential(nn.Conv2d(3, 64, 1), Fading(first=1))
    model, before = Model(module), state_of(module)
    with model.evaluating():
        answers = [model.record(images, ["1"])["1"] for _ in range(3)]
        assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert changed(before, state_of(module)) == set()


def test_what_later_passes_write_unseen_is_put_back_at_the_end_of_their_stage(images: Tensor) -> None:
    module = nn.Sequential(nn.Conv2d(3, 64, 1), Fading(first=2))
    model, given = Model(module), module[1].weight.clone()
    with model.evaluating():
        model.record(images, ["1"])
        with model.evaluating():
            stage = [model.record(images, ["1"])["1"] for _ in range(2)]
            assert not torch.equal(*stage)  # the price of not reading all weights after each pass
        assert torch.equal(module[1].weight, given)
        later = [model.record(images, ["1"])["1"] for _ in range(2)]
    assert torch.equal(later[0], stage[0])
    assert torch.equal(later[1], stage[0])
