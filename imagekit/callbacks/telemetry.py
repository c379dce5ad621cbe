"""What the layers give while a model trains: collected every so many steps, kept in telemetry.json.

Shapes: L layers, N bins.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from imagekit.errors import CheckpointError, ConfigError
from imagekit.learner.callback import Callback
from imagekit.models.hooks import Hooks, LayerStats, path_of
from imagekit.models.units import WEIGHTED, find_units
from imagekit.runs.telemetry import TelemetryRecord, read_telemetry, write_telemetry

MAX_STEPS = 500  # kept; a picture is not wider
MAX_LAYERS = 100  # that one picture holds

# -7 to 7, not 0 to 10: outputs of linear layers and of leaky activations are negative too
STATS = LayerStats(n_bins=40, value_range=(-7.0, 7.0), near_zero=0.5, in_eval=True)


@dataclass(slots=True)
class _Seen:
    """One step: mean, deviation and near-zero share, and the histogram, of each layer."""

    step: int
    moments_L3: Tensor
    counts_LN: Tensor


class Telemetry(Callback):
    """Collect mean, deviation, histogram and near-zero share of layers' outputs, every so many training batches.

    They are written to `path` after each epoch and after the fit, also one that failed: atomically, at most 500 steps.
    When there would be more, every second one is dropped and `every` doubles, so that they stay evenly spaced. Steps
    are training batches, counted from 1 over the whole training; a fit that goes on from an earlier one goes on with
    its file, of which what came after the checkpoint is left out. Steps that are not in the file yet are in the state.
    A layer that runs several times a step counts with its first run, one that does not run has NaN.

    The hooks are on the model during the forward pass of such a step alone. Numbers stay on the device until the epoch
    is over. find: gives the layers to watch, `watched_layers` by default; of more than 100, 100 evenly chosen ones.
    Raises ConfigError for `every` below 1 and where there is no layer, CheckpointError for a file that cannot be gone
    on with. Source: fast.ai course v3, lesson 10.
    """

    _order = 120  # after what records how a fit ended: fetching numbers from a device that failed fails too
    _orders: ClassVar = {"after_epoch": 58}  # a checkpoint of a whole epoch finds the file written

    def __init__(
        self,
        path: Path | str,
        *,
        every: int = 10,
        find: Callable[[nn.Module], Sequence[tuple[str, nn.Module]]] | None = None,
    ) -> None:
        if every < 1:
            raise ConfigError(
                f"every is {every}, must be at least 1",
                where="Telemetry: every",
                fix="give the distance of the steps in training batches, 10 say",
            )
        self.path, self.every, self._given_every = Path(path), every, every
        self.find = find or watched_layers
        self._layers: list[tuple[str, nn.Module]] = []
        self._names: list[str] = []
        self._seen: list[_Seen] = []
        self._is_new = False
        self._last_written = 0  # step
        self._hooks: Hooks | None = None

    def begin_fit(self) -> None:
        """Find the layers, and what an earlier fit saw of them."""
        if not self.learner.in_train:  # validation alone
            return
        self._layers = spread_evenly(list(self.find(self.learner.model)), MAX_LAYERS)
        if not self._layers:
            raise ConfigError(
                f"found no layer to watch in a {type(self.learner.model).__name__}",
                where="Telemetry: find",
                fix="hand in find=, a function that gives pairs of a name and a module of the model",
            )
        self._names = [name for name, _ in self._layers]
        self._seen, self.every, self._last_written = [], self._given_every, 0
        if (self.learner.epochs_done or self.learner.batches_done) and self.path.exists():
            self._go_on(read_telemetry(self.path))

    def begin_batch(self) -> None:
        """Hooks on, if it is time for them."""
        if self._layers and self.learner.in_train and (self._step - 1) % self.every == 0:
            self._hooks = Hooks([layer for _, layer in self._layers], STATS)

    def after_pred(self) -> None:
        """Keep what they saw; hooks off."""
        if self._hooks is not None:
            self._seen.append(self._collect(self._hooks))
            self._is_new = True
            self._hooks_off()
            self._thin_out()

    def after_batch(self) -> None:
        """Hooks off, if the batch was left before its prediction."""
        self._hooks_off()

    def after_epoch(self) -> None:
        """Fetch and write."""
        self._write()

    def after_fit(self) -> None:
        """Hooks off; write what a cancelled or failed epoch left."""
        self._hooks_off()
        self._layers = []
        self._write()

    def state_dict(self) -> dict[str, Any]:
        """The steps that no file holds yet: those of a begun epoch."""
        self._fetch()
        fresh = [seen for seen in self._seen if seen.step > self._last_written]
        if not fresh:
            return {}
        return {
            "names": self._names,
            "every": self.every,
            "steps": [seen.step for seen in fresh],
            "moments": torch.stack([seen.moments_L3 for seen in fresh]),
            "counts": torch.stack([seen.counts_LN for seen in fresh]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them behind those of the file. Raises CheckpointError where they are of other layers."""
        if state["names"] != self._names:
            raise CheckpointError(
                "the checkpoint has telemetry of other layers than this model's",
                where="Telemetry: find",
                fix="go on with the model and the layers that the epoch was begun with",
            )
        loaded = [_Seen(*parts) for parts in zip(state["steps"], state["moments"], state["counts"], strict=True)]
        by_step = {seen.step: seen for seen in (*self._seen, *loaded)}
        self.every = max(self.every, int(state["every"]))
        self._seen = [by_step[step] for step in sorted(by_step) if (step - 1) % self.every == 0]
        self._is_new = True

    @property
    def _step(self) -> int:
        return int(self.learner.epoch * self.learner.n_batches + self.learner.i_batch + 1)

    def _collect(self, hooks: Hooks) -> _Seen:
        """Without waiting for the device."""
        memories = [vars(hook).get("stats") for hook in hooks]
        device = next((memory.moments[0].device for memory in memories if memory is not None), torch.device("cpu"))
        nothing = torch.full((3,), math.nan, device=device), torch.zeros(STATS.n_bins, dtype=torch.int64, device=device)
        first = [nothing if memory is None else (memory.moments[0], memory.counts[0]) for memory in memories]
        moments, counts = ([pair[part].to(device) for pair in first] for part in range(2))
        return _Seen(self._step, torch.stack(moments), torch.stack(counts))

    def _hooks_off(self) -> None:
        if self._hooks is not None:
            self._hooks.remove()
            self._hooks = None

    def _thin_out(self) -> None:
        while len(self._seen) > MAX_STEPS:
            self.every *= 2
            self._seen = [seen for seen in self._seen if (seen.step - 1) % self.every == 0]

    def _write(self) -> None:
        if not self._is_new:
            return
        self._fetch()
        moments_TL3 = torch.stack([seen.moments_L3 for seen in self._seen])
        means, stds, near_zero = (part.T.tolist() for part in moments_TL3.unbind(-1))
        record = TelemetryRecord(
            every=self.every,
            steps=[seen.step for seen in self._seen],
            names=self._names,
            means=means,
            stds=stds,
            near_zero=near_zero,
            hists=torch.stack([seen.counts_LN for seen in self._seen], dim=1).tolist(),
            value_range=STATS.value_range,
            near_zero_below=STATS.near_zero,
        )
        write_telemetry(self.path, record)
        self._is_new, self._last_written = False, self._seen[-1].step

    def _fetch(self) -> None:
        """Bring what is still on the device to the CPU, in two copies."""
        waiting = [seen for seen in self._seen if seen.moments_L3.device.type != "cpu"]
        if waiting:
            moments_TL3 = torch.stack([seen.moments_L3 for seen in waiting]).cpu()
            counts_TLN = torch.stack([seen.counts_LN for seen in waiting]).cpu()
            for seen, moments_L3, counts_LN in zip(waiting, moments_TL3, counts_TLN, strict=True):
                seen.moments_L3, seen.counts_LN = moments_L3, counts_LN

    def _go_on(self, record: TelemetryRecord) -> None:
        """Take up the steps that the batches done made."""
        made = (record.names, record.value_range, record.near_zero_below, len(record.hists[0][0]))
        if made != (self._names, STATS.value_range, STATS.near_zero, STATS.n_bins):
            raise CheckpointError(
                "telemetry.json is of other layers than this model's",
                where=str(self.path),
                fix="move it aside, or go on with the model and the layers that it was made with",
            )
        n_done = self.learner.epochs_done * len(self.learner.data.train_dl) + self.learner.batches_done
        moments_T3L = torch.tensor([record.means, record.stds, record.near_zero]).permute(2, 0, 1)
        counts_TLN = torch.tensor(record.hists).transpose(0, 1)
        self.every = record.every
        self._seen = [
            _Seen(step, moments_3L.T, counts_LN)
            for step, moments_3L, counts_LN in zip(record.steps, moments_T3L, counts_TLN, strict=True)
            if step <= n_done
        ]
        self._last_written = self._seen[-1].step if self._seen else 0


def watched_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The names of the model's units, and of each the part to watch: its activation, else the unit itself.

    Behind the activation, because there a unit that never fires is to be seen. One that several units share is passed
    over for the units themselves. Units: see `find_units`.
    """
    units = find_units(model)
    acts = {unit: _activation_of(unit) for unit in units}
    uses = Counter(acts.values())
    return [(path_of(model, unit), act if act is not None and uses[act] == 1 else unit) for unit, act in acts.items()]


def spread_evenly(layers: Sequence[tuple[str, nn.Module]], limit: int) -> list[tuple[str, nn.Module]]:
    """At most `limit` of them, in order, the first and the last among them."""
    if len(layers) <= limit:
        return list(layers)
    return [layers[round(number * (len(layers) - 1) / (limit - 1))] for number in range(limit)]


def _activation_of(unit: nn.Module) -> nn.Module | None:
    """The part of a unit that is no weighted layer, no norm, and does not pass on what it is given."""
    others = ("Norm", "Dropout", "Identity", "Flatten")
    parts = [] if isinstance(unit, WEIGHTED) else list(unit.children())
    acts = [
        part for part in parts if not isinstance(part, WEIGHTED) and not any(o in type(part).__name__ for o in others)
    ]
    return acts[0] if acts else None
