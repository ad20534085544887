"""The state of a training on disk: the network, the optimiser, the step and the learning curve.

It is written whole or not at all, and read as numbers and text, so that it cannot run code. It holds the settings of
its training: a checkpoint of another one is refused.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import write_atomically

__all__ = ["State", "load_checkpoint", "save_checkpoint"]

_VERSION = 2  # 1 had other coordinates of kernels, which differed from one processor to another


@dataclass
class State:
    """How far a training has come, beside its weights and momenta.

    Attributes
    ----------
    step
        Steps done, over all epochs.
    loss_sum, n_losses
        Over the steps since the last line of the learning curve.
    rows
        Lines of the learning curve.
    failures
        Name and reason of each image that could not be decoded.
    seconds
        Time spent on training, s.
    """

    step: int = 0
    loss_sum: float = 0.0
    n_losses: int = 0
    rows: list[dict[str, float | None]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def save_checkpoint(
    path: Path, state: State, network: nn.Module, optimiser: torch.optim.Optimizer, settings: str
) -> None:
    """Write everything that the next step depends on, atomically: a kill leaves the checkpoint before.

    Raises
    ------
    EquiscopeError
        If a weight is not finite; the checkpoint before stays.

    Examples
    --------
    >>> network = nn.Linear(2, 1)
    >>> optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    >>> save_checkpoint(Path("checkpoint.pt"), State(step=7), network, optimiser, "settings")
    >>> load_checkpoint(Path("checkpoint.pt"), network, optimiser, "settings").step
    7
    """
    broken = [name for name, p in network.state_dict().items() if not bool(torch.isfinite(p).all())]
    if broken:
        raise EquiscopeError(
            f"after step {state.step} weights are not finite ({', '.join(broken[:3])}): the checkpoint before is kept; "
            "train with a lower learning rate"
        )
    document = {
        "version": _VERSION,
        "settings": settings,
        "state": asdict(state),
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "torch_rng": torch.get_rng_state(),
    }
    stored = io.BytesIO()
    torch.save(document, stored)
    write_atomically(path, lambda stream: stream.write(stored.getbuffer()))


def load_checkpoint(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, settings: str
) -> State | None:
    """Take up a checkpoint, if there is one.

    Returns
    -------
    State, or None without a checkpoint

    Raises
    ------
    EquiscopeError
        If it cannot be read, or is of another training.

    Examples
    --------
    >>> network = nn.Linear(2, 1)
    >>> optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    >>> load_checkpoint(Path("checkpoint.pt"), network, optimiser, "settings") is None
    True
    """
    if not path.is_file():
        return None
    document = read_checkpoint(path)
    if document["settings"] != settings:
        raise EquiscopeError(
            f"{path} is the checkpoint of another training: give another --out, or delete the folder"
        )
    network.load_state_dict(document["network"])
    optimiser.load_state_dict(document["optimiser"])
    torch.set_rng_state(document["torch_rng"])
    return State(**document["state"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's parts.

    Raises
    ------
    EquiscopeError
        If it cannot be read or is of another version.
    """
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
        version = document["version"]
    except Exception as error:  # damaged files make torch raise nearly any type
        raise EquiscopeError(
            f"cannot read the checkpoint {path} ({type(error).__name__}: {str(error)[:200]}): delete it to begin again"
        ) from error
    if version != _VERSION:
        raise EquiscopeError(
            f"the checkpoint {path} is of version {version}, this equiscope reads {_VERSION}: go on with the equiscope "
            "that wrote it, or delete it to begin again"
        )
    return dict(document)
