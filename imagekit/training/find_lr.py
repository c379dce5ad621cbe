"""Search for the learning rate of a training run, without training it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from imagekit.callbacks.progress import choose_voice
from imagekit.learner.lr_find import LRCurve, find_lr
from imagekit.training.assemble import make_learner, make_loaders
from imagekit.training.channels import find_stats
from imagekit.training.checks import check_all
from imagekit.training.config import TrainConfig

N_SHOWN = 12  # rows of the table


@dataclass(frozen=True, kw_only=True, slots=True)
class FindLRReport:
    """What a search came to. picture: where its curve is drawn; options: of the training that it is for."""

    manifest: Path
    curve: LRCurve
    n_steps: int
    opt: str
    seed: int
    seconds: float
    picture: Path | None
    options: Sequence[str]
    exit_code: int = 0

    @property
    def next_command(self) -> str | None:
        """The training with the rate that is suggested; None where none is."""
        if self.curve.suggestion is None:
            return None
        words = ["imagekit", "train", str(self.manifest), "-o", "run", *self.options]
        return shlex.join([*words, "--lr", f"{self.curve.suggestion:.2g}"])

    @property
    def marked(self) -> dict[str, float]:
        """The rates to choose from, by what they are."""
        rates = {"falls fastest": self.curve.suggestion, "least / 10": self.curve.at_minimum_over_10}
        return {name: lr for name, lr in rates.items() if lr is not None}

    def summary(self) -> str:
        """A table of some rates and their losses, then what they say."""
        curve = self.curve
        lines = [f"{'lr':>9}  {'loss':>10}  {'smoothed':>10}", *map(self._line, self._shown())]
        how_far = f"{len(curve.lrs)} of {self.n_steps} steps, {self.seconds:.1f} s, {self.opt}, seed {self.seed}"
        lines.append(how_far + ("; stopped where the loss exploded" if curve.stopped_early else ""))
        if curve.suggestion is not None:
            lines.append(
                f"the loss falls fastest at {curve.suggestion:.2g}; a tenth of where it is least:"
                f" {curve.at_minimum_over_10:.2g}"
            )
        lines += [*([curve.remark] if curve.remark else []), *([f"curve: {self.picture}"] if self.picture else [])]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """The same facts as plain types."""
        return {
            "manifest": str(self.manifest),
            "opt": self.opt,
            "seed": self.seed,
            "n_steps": self.n_steps,
            "seconds": round(self.seconds, 3),
            "picture": None if self.picture is None else str(self.picture),
            **self.curve.to_dict(),
        }

    def _shown(self) -> list[int]:
        """Steps at equal distances, the first, the last and the suggested one among them."""
        curve = self.curve
        even = np.linspace(0, len(curve.lrs) - 1, N_SHOWN).round().astype(int).tolist() if curve.lrs else []
        suggested = [] if curve.suggestion is None else [curve.lrs.index(curve.suggestion)]
        return sorted({*even, *suggested})

    def _line(self, step: int) -> str:
        curve = self.curve
        mark = "  < falls fastest" if curve.lrs[step] == curve.suggestion else ""
        return f"{curve.lrs[step]:9.2e}  {curve.losses[step]:10.4g}  {curve.smoothed[step]:10.4g}{mark}"


def find_rate(
    manifest: Path | str,
    *,
    config: TrainConfig | None = None,
    root: Path | None = None,
    n_workers: int = 0,
    n_steps: int = 100,
    picture: Path | None = None,
    options: Sequence[str] = (),
    quiet: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> FindLRReport:
    """Let the learning rate rise over n_steps batches of the training that `config` describes, and report the losses.

    Model, data, augmentation, precision and optimizer are those of `train`, but for its schedule of the rate; nothing
    is written. root, n_workers: as for train. picture, options: what the report says of them; who calls draws.
    quiet: nothing on stderr. progress: told steps done and n_steps. Raises what `train` does before it begins, and
    TrainingError where the data gives no batch.
    """
    begun, path, config = time.monotonic(), Path(manifest), config or TrainConfig()
    say = choose_voice(quiet=quiet)
    checked = check_all(path, None, config=config, root=root, overwrite=False)
    content, device = checked.manifest, checked.device
    for remark in checked.remarks:
        say(remark)
    data = make_loaders(content, config, root=root, n_workers=n_workers, pin=device.type == "cuda")
    with closing(data):
        stats = find_stats(content, root=root, seed=config.seed, n_workers=n_workers, say=say)
        # at the size that training comes to: the search stays at its beginning, where images may be small
        whole = replace(config, start_size=0)
        learner = make_learner(content, data, whole, stats=stats.channels, device=device, model=checked.model)
        curve = find_lr(learner, n_steps=n_steps, progress=progress)
    return FindLRReport(
        manifest=path,
        curve=curve,
        n_steps=n_steps,
        opt=config.opt,
        seed=config.seed,
        seconds=time.monotonic() - begun,
        picture=picture,
        options=tuple(options),
    )
