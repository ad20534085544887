"""A borrowed network answers for its layers and is handed back exactly as it was."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.models import Model


class Tail(nn.Module):
    """A last layer that counts its runs, and can refuse to run."""

    def __init__(self, refuses: bool = False) -> None:
        super().__init__()
        self.refuses = refuses
        self.n_runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n_runs += 1
        if self.refuses:
            raise RuntimeError("the tail was reached")
        return x.mean((2, 3))


def network(refuses: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 5, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        Tail(refuses),
    )


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 11, 14, generator=torch.Generator().manual_seed(1))


def hooks_of(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_record_keeps_the_value_before_a_relu_that_works_in_place(images: Tensor) -> None:
    module = network().eval()
    found = Model(module).record(images, ["0", "4"])
    first = F.conv2d(images, module[0].weight, module[0].bias, padding=1)
    assert torch.allclose(found["0"], first, atol=1e-6)
    assert found["0"].min() < 0
    second = F.conv2d(module[2](first.relu()), module[4].weight, module[4].bias, stride=2, padding=1)
    assert torch.allclose(found["4"], second, atol=1e-6)
    assert found["4"].shape == (2, 5, 6, 7)


def test_read_sees_the_output_and_may_return_a_view_of_it(images: Tensor) -> None:
    model = Model(network())
    whole = model.record(images, ["0"])["0"]
    # The second layer makes the pass go on through the ReLU that overwrites the first one's output.
    part = model.record(
        images, ["0", "4"], lambda layer, output: output[:, :, 3, 5] if layer == "0" else output
    )
    assert torch.equal(part["0"], whole[:, :, 3, 5])


def test_nothing_of_the_network_changes(images: Tensor) -> None:
    module = network()
    module.train()
    module[2].eval()
    before = copy.deepcopy(module.state_dict())
    flags = [m.training for m in module.modules()]
    assert len(set(flags)) == 2
    model = Model(module)
    sha = model.weights_sha256()
    model.record(images, ["0", "4", "5"])
    assert [m.training for m in module.modules()] == flags
    assert hooks_of(module) == 0
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert model.weights_sha256() == sha
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_it_is_handed_back_whole_when_the_network_raises(images: Tensor) -> None:
    module = network(refuses=True)
    module.train()
    module[2].eval()
    flags = [m.training for m in module.modules()]
    with pytest.raises(RuntimeError, match="the tail was reached"):
        Model(module).record(images, ["0", "6"])
    assert [m.training for m in module.modules()] == flags
    assert hooks_of(module) == 0


def test_layers_are_recorded_in_evaluation_mode(images: Tensor) -> None:
    module = network().train()
    model = Model(module)
    assert torch.equal(model.record(images, ["4"])["4"], model.record(images, ["4"])["4"])
    assert torch.equal(model.record(images, ["4"])["4"], Model(module.eval()).record(images, ["4"])["4"])


def test_the_pass_stops_after_the_last_layer_asked(images: Tensor) -> None:
    module = network(refuses=True)
    assert set(Model(module).record(images, ["4", "0"])) == {"0", "4"}
    assert module[6].n_runs == 0


def test_images_are_prepared_once_and_their_own_tensor_stays(images: Tensor) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1))
    kept = images.clone()
    found = Model(module, preprocess=lambda x: x.flip(1) * 2).record(images, ["0"])["0"]
    assert torch.allclose(found, module(kept.flip(1) * 2), atol=1e-6)
    assert torch.equal(images, kept)


def test_a_module_that_runs_twice_is_recorded_at_its_first_run(images: Tensor) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.shared(self.shared(x)))

    module = Twice()
    alone = Model(module).record(images, ["shared"])["shared"]
    assert torch.allclose(alone, module.shared(images), atol=1e-6)
    assert torch.equal(Model(module).record(images, ["shared", "last"])["shared"], alone)


@pytest.mark.parametrize("use", ["record", "resolve"])
def test_an_unknown_layer_is_answered_with_the_nearest(images: Tensor, use: str) -> None:
    module = nn.Sequential()
    module.add_module("mixed3a", nn.Conv2d(3, 2, 1))
    module.add_module("mixed4a", nn.Conv2d(2, 2, 1))
    model = Model(module, "toy")
    with pytest.raises(EquiscopeError, match=r"layer of toy 'mixd3a'.*'mixed3a'"):
        model.record(images, ["mixd3a"]) if use == "record" else model.resolve_layers(["mixd3a"])
    assert hooks_of(module) == 0


def test_a_layer_that_never_runs_is_named(images: Tensor) -> None:
    module = network()
    module.add_module("spare", nn.Conv2d(3, 3, 1))
    module.forward = lambda x: nn.Sequential(*list(module)[:7])(x)  # type: ignore[method-assign]
    with pytest.raises(EquiscopeError, match="did not run spare"):
        Model(module).record(images, ["0", "spare"])
    assert hooks_of(module) == 0


def test_a_layer_without_positions_is_refused(images: Tensor) -> None:
    with pytest.raises(EquiscopeError, match=r"'6' of toy gives \(2, 5\), expected \(image, channel, y, x\)"):
        Model(network(), "toy").record(images, ["6"])

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(EquiscopeError, match="gives tuple"):
        Model(nn.Sequential(Pair())).record(images, ["0"])


def test_default_layers_are_found_unless_the_model_has_its_own_choice() -> None:
    assert Model(network()).resolve_layers() == ["0", "4"]
    assert Model(network()).resolve_layers([]) == ["0", "4"]
    assert Model(network(), default_layers=("5",)).resolve_layers() == ["5"]
    assert Model(network()).resolve_layers(["4", "1", "4"]) == ["4", "1"]


def test_a_network_without_convolutions_needs_layers_named() -> None:
    model = Model(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), "flat")
    with pytest.raises(EquiscopeError, match=r"flat has no torch.nn.Conv2d.*--layers"):
        model.resolve_layers()


def test_weights_sha256_knows_every_value_name_and_shape() -> None:
    def sha(module: nn.Module) -> str:
        return Model(module).weights_sha256()

    module = network()
    seen = {sha(module)}
    assert sha(network()) in seen
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] += 1e-6
    seen.add(sha(module))
    module[2].running_var[1] += 1
    seen.add(sha(module))
    seen.add(sha(module.double()))
    renamed = nn.Sequential()
    renamed.add_module("other", nn.Conv2d(3, 4, 3, padding=1))
    seen |= {sha(renamed), sha(nn.Sequential(renamed.other))}
    assert len(seen) == 6
    assert sha(nn.ReLU()) == sha(nn.Sigmoid())


def test_device_is_that_of_the_parameters() -> None:
    model = Model(nn.Conv2d(3, 1, 1))
    model.module.to("meta")
    assert model.device == torch.device("meta")
    assert Model(nn.ReLU()).device == torch.device("cpu")
