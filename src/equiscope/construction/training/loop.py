"""One training in progress: steps, losses, checkpoints, learning curve, and the network that is written at the end."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equiscope.construction.training.batches import Batch, Schedule, centre_batch, iterate_batches
from equiscope.construction.training.checkpoint import State, load_checkpoint, save_checkpoint
from equiscope.construction.training.curves import save_curves
from equiscope.construction.training.datasets import LabelledImages, Split
from equiscope.construction.training.descriptions import Description
from equiscope.construction.training.equivariance import measure_equivariance
from equiscope.construction.training.graphs import RecordedPasses
from equiscope.construction.training.network import DesignedNetwork, to_plain
from equiscope.construction.training.processes import Processes
from equiscope.construction.training.recipe import Recipe, make_optimiser, whiten_stem
from equiscope.construction.training.record import TrainingRun, load_training
from equiscope.construction.training.stopping import Stop
from equiscope.foundations.documents import to_json
from equiscope.foundations.errors import EquiscopeError
from equiscope.foundations.files import write_atomically
from equiscope.foundations.progress import Progress
from equiscope.foundations.statistics import share_interval
from equiscope.models.trained import serialise, standardise

__all__ = ["Training"]

# Lines of the learning curve an epoch, and images that are evaluated at once.
_ROWS_PER_EPOCH = 10
_EVALUATED = 250
# Validation images that are turned to measure equivariance.
_TURNED = 32
# Steps whose losses are looked at together on a GPU, where looking at each would wait for it.
_CHECKED_ON_GPU = 20
# A few damaged files are left out; more than this share of a part means that something else is wrong.
_MOST_FAILED, _FEW = 0.05, 2


@dataclass(frozen=True)
class Plan:
    """What is trained, on what, and how; ``settings`` says it for the record."""

    description: Description
    images: LabelledImages
    recipe: Recipe
    seed: int
    dtype: torch.dtype
    settings: dict[str, Any]


@dataclass(frozen=True)
class Pace:
    """What changes the time that a training takes, and not its result."""

    checkpoint_every: int
    n_workers: int
    use_graphs: bool


@dataclass
class Training:
    """One training in progress."""

    folder: Path
    plan: Plan
    processes: Processes
    pace: Pace
    manifest: dict[str, Any]
    state: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.description, self.images, self.recipe = (
            self.plan.description,
            self.plan.images,
            self.plan.recipe,
        )
        n = len(self.images.train)
        self.n_steps_per_epoch = n // self.recipe.batch
        if not self.n_steps_per_epoch:
            raise EquiscopeError(
                f"a batch of {self.recipe.batch} is larger than the {n} training images: give --batch"
            )
        if self.recipe.batch % self.processes.n:
            raise EquiscopeError(
                f"a batch of {self.recipe.batch} does not divide among {self.processes.n} processes: give --batch as a "
                "multiple of them"
            )
        self.n_steps = self.n_steps_per_epoch * self.recipe.epochs
        self.crops_px = [
            self.description.fit_side(self.recipe.crop_in_epoch(epoch)) for epoch in range(self.recipe.epochs)
        ]
        self.crop_px = self.description.fit_side(self.recipe.crop_px)
        if self.recipe.mean is None or self.recipe.sd is None:
            raise TypeError("the recipe's moments were not filled in")
        self.mean, self.sd = self.recipe.mean, self.recipe.sd
        self.standardise = standardise(self.mean, self.sd)
        device = self.processes.device
        self.is_recorded = self.pace.use_graphs and not self.processes.is_group and device.type == "cuda"
        torch.manual_seed(self.plan.seed)
        self.network = DesignedNetwork(self.description, len(self.images.classes))
        whiten_stem(self.network, self.images.train, self.recipe, self.plan.seed)
        self.network.to(device)
        self.optimiser = make_optimiser(self.network, self.recipe)
        self.settings = json.dumps(self.manifest["settings"], sort_keys=True)

    @property
    def checkpoint(self) -> Path:
        """File of the checkpoint."""
        return self.folder / "checkpoint.pt"

    def run(self, progress: Progress, stop: Stop) -> TrainingRun:
        """Train to the end, and write what comes out."""
        found = load_checkpoint(self.checkpoint, self.network, self.optimiser, self.settings)
        if found is not None:
            self.state = found
            self.images.train.failures.update(found.failures)
        self.processes.wait()
        if self.processes.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._record()
        model = (
            RecordedPasses(self.network, self.plan.dtype)
            if self.is_recorded
            else self.processes.wrap(self.network)
        )
        with progress(f"Training {self.description.name}", self.n_steps) as on_step:
            on_step(self.state.step)
            self._take_steps(model, on_step, stop)
        return self._finish()

    def _take_steps(
        self, model: Callable[[Tensor], Tensor], on_step: Callable[[int], None], stop: Stop
    ) -> None:
        state, n_per_epoch = self.state, self.n_steps_per_epoch
        row_every = max(1, n_per_epoch // _ROWS_PER_EPOCH)
        n_unchecked = _CHECKED_ON_GPU if self.processes.device.type == "cuda" else 1
        pending: list[Tensor] = []
        row_step, row_seconds = state.step, state.seconds
        clock = time.perf_counter()
        batches = iterate_batches(
            self.images.train,
            Schedule(n_per_epoch, self.recipe.batch, self.crops_px, self.plan.seed),
            range(state.step, self.n_steps),
            rank=self.processes.rank,
            n_ranks=self.processes.n,
            n_workers=self.pace.n_workers,
        )
        self.network.train()
        for batch in batches:
            self._check_failures(self.images.train, batch)
            pending.append(self._step(model, batch))
            state.step += 1
            ends_epoch = state.step % n_per_epoch == 0
            is_row = ends_epoch or (state.step % n_per_epoch) % row_every == 0
            # Read once: a request that comes later waits for the next step, which is then saved.
            is_stopping = stop.is_requested
            is_saved = ends_epoch or state.step % self.pace.checkpoint_every == 0 or is_stopping
            if is_row or is_saved or len(pending) >= n_unchecked:
                self._settle(pending)
            if is_row:
                now = time.perf_counter()
                state.seconds += now - clock
                clock = now
                rate = (state.step - row_step) * self.recipe.batch / max(state.seconds - row_seconds, 1e-9)
                self._add_row(rate, is_evaluated=ends_epoch)
                clock = time.perf_counter()
                row_step, row_seconds = state.step, state.seconds
            if is_saved:
                now = time.perf_counter()
                state.seconds += now - clock
                clock = now
                self._save()
            on_step(1)
            if is_stopping:
                raise KeyboardInterrupt

    def _prepare(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Move a batch to the network and standardise it there."""
        device = self.processes.device
        parts = [torch.from_numpy(part) for part in (batch.pixels, batch.contrast, batch.shift, batch.labels)]
        if device.type == "cuda":
            # From pinned memory copies need not wait for the step before.
            parts = [part.pin_memory() for part in parts]
        pixels, contrast, shift, labels = (part.to(device, non_blocking=True) for part in parts)
        standard = self.standardise(pixels.float() / 255)
        images = standard * contrast.view(-1, 1, 1, 1) + shift.view(-1, 1, 1, 1)
        return images.contiguous(memory_format=torch.channels_last), labels

    def _step(self, model: Callable[[Tensor], Tensor], batch: Batch) -> Tensor:
        """Take one step; returns the loss."""
        rate = self.recipe.learning_rate_at(self.state.step, self.n_steps_per_epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        images, labels = self._prepare(batch)
        is_half = self.plan.dtype != torch.float32
        with torch.autocast(self.processes.device.type, self.plan.dtype, enabled=is_half):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.processes.average_moments(self.network)
        return loss.detach()

    def _settle(self, pending: list[Tensor]) -> None:
        """Take up the losses of the last steps; stop at the first that is not finite."""
        losses = (self.processes.total(torch.stack(pending)) / self.processes.n).tolist()
        first = self.state.step - len(pending) + 1
        pending.clear()
        for step, loss in enumerate(losses, first):
            if not math.isfinite(loss):
                kept = (
                    "the last checkpoint is kept"
                    if self.checkpoint.is_file()
                    else "there is no checkpoint yet"
                )
                raise EquiscopeError(
                    f"the loss is {loss} at step {step} of {self.n_steps} (epoch "
                    f"{(step - 1) // self.n_steps_per_epoch + 1}); {kept}: train with a lower learning rate into "
                    "another folder, or in float32"
                )
            self.state.loss_sum += loss
            self.state.n_losses += 1

    def _check_failures(self, split: Split, batch: Batch) -> None:
        """Refuse data of which too much cannot be decoded."""
        n_failed, n = len(split.failures), len(split)
        if n_failed > max(_FEW, _MOST_FAILED * n) or (batch.n_failed and not len(batch.labels)):
            name, reason = next(iter(sorted(split.failures.items())))
            raise EquiscopeError(
                f"{n_failed} of {n} images of {self.images.name} cannot be decoded, the first: {name} ({reason}); at "
                f"most {_MOST_FAILED:.0%} are left out: fetch the data again"
            )

    def _add_row(self, rate: float, *, is_evaluated: bool) -> None:
        """Add a line to the learning curve."""
        state = self.state
        row: dict[str, float | None] = {
            "step": state.step,
            "epoch": state.step / self.n_steps_per_epoch,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "train_loss": state.loss_sum / state.n_losses,
            **dict.fromkeys(("val_loss", "val_top1", "val_low", "val_high")),
        }
        state.loss_sum, state.n_losses = 0.0, 0
        if is_evaluated:
            result = self._evaluate(self.network)
            self.network.train()
            row |= {f"val_{key}": result[key] for key in ("loss", "top1", "low", "high")}
        row |= {"seconds": state.seconds, "images_per_s": rate}
        state.rows.append(row)

    @torch.no_grad()
    def _evaluate(self, network: nn.Module) -> dict[str, float]:
        """Loss and accuracy on centre crops of the validation images, float32."""
        network.eval()
        split = self.images.val
        own = np.arange(len(split))[self.processes.rank :: self.processes.n]
        sums = torch.zeros(3, dtype=torch.float64)
        for start in range(0, len(own), _EVALUATED):
            batch = centre_batch(split, own[start : start + _EVALUATED], self.crop_px)
            self._check_failures(split, batch)
            images, labels = self._prepare(batch)
            logits = network(images)
            n_right = (logits.argmax(1) == labels).sum()
            loss = F.cross_entropy(logits, labels, reduction="sum")
            sums += torch.tensor([float(loss), float(n_right), len(labels)], dtype=torch.float64)
        split.failures.update(self.processes.join(split.failures))
        loss_sum, n_right, n = self.processes.total(sums.to(self.processes.device)).tolist()
        low, high = share_interval(int(n_right), int(n))
        return {"loss": loss_sum / n, "top1": n_right / n, "low": low, "high": high, "n_images": int(n)}

    def _some_images(self) -> Tensor:
        """Give validation images from all over the set, standardised, to measure equivariance on."""
        split = self.images.val
        chosen = np.unique(np.linspace(0, len(split) - 1, min(_TURNED, len(split))).astype(np.int64))
        return self._prepare(centre_batch(split, chosen, self.crop_px))[0]

    def _save(self) -> None:
        """Write a checkpoint, the curves and the record."""
        self.state.failures = self.processes.join(self.images.train.failures)
        if self.processes.is_first:
            save_checkpoint(self.checkpoint, self.state, self.network, self.optimiser, self.settings)
            save_curves(self.folder, self.state.rows, self.description.name)
            self._record()
        self.processes.wait()

    def _record(self, **more: Any) -> None:
        state = self.state
        failures = {**self.images.left_out, **state.failures, **self.images.val.failures}
        self.manifest["data"]["notes"] = self.images.notes
        self.manifest["data"]["failures"] = [
            {"name": name, "reason": reason} for name, reason in sorted(failures.items())
        ]
        progress = {
            "step": state.step,
            "n_steps": self.n_steps,
            "seconds": state.seconds,
            "curves": state.rows,
        }
        self.manifest |= progress | more
        content = to_json(self.manifest).encode()
        write_atomically(self.folder / "training.json", lambda stream: stream.write(content))

    def _finish(self) -> TrainingRun:
        """Export the network, evaluate it as it is exported, and close the record."""
        plain, blueprint = to_plain(
            self.network, self.crop_px, classes=self.images.classes, mean=self.mean, sd=self.sd
        )
        plain.to(self.processes.device)
        result = self._evaluate(plain)
        if self.processes.is_first:
            # Killed between a last checkpoint and its curves, a training has no further step to draw them after.
            save_curves(self.folder, self.state.rows, self.description.name)
            stored = serialise(plain, blueprint)
            write_atomically(self.folder / "model.safetensors", lambda stream: stream.write(stored))
            kept = [asdict(layer) for layer in measure_equivariance(self.network, self._some_images())]
            self._record(result=result, equivariance=kept, is_complete=True)
        self.processes.wait()
        return load_training(self.folder)
