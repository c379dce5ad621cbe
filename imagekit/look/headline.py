"""The head of a report: one line that says what became of the run, and its result in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from imagekit.look.epochs import Row, best_number, epoch_at, is_number
from imagekit.look.facts import RunFacts
from imagekit.look.wording import UNKNOWN, count_text, duration_text, number_text, percent_text


def subtitle(facts: RunFacts) -> str:
    """The state of the run, its classes and images; of a failed run why it failed."""
    status, images = facts.status, facts.predictions
    done = _done(facts)
    states = {
        "done": f"finished, {done}",
        "interrupted": f"interrupted after {done}",
        "failed": f"failed after {done}" + (f": {facts.failure}" if facts.failure else ""),
        "running": f"running or killed, {done} when last heard of at {status.heartbeat}",
    }
    parts = [states[status.state], f"{len(facts.vocab):,} classes" if facts.vocab else ""]
    parts += [f"{len(images):,} validation images" if images is not None else ""]
    return " · ".join(part for part in parts if part)


def result_line(facts: RunFacts) -> str:
    """The result for the terminal: accuracy after the last epoch that was validated, and that of the weights kept."""
    best, number = facts.best_row(), best_number(facts.rows)
    if best is None or number is None:
        return f"no validation accuracy yet, {_done(facts)}"
    kept, last = _kept_column(facts, best), _last_validated(facts.rows)
    told = f"valid accuracy {_four(facts.rows[last].get('valid_accuracy'))} after {_epochs(epoch_at(facts.rows, last))}"
    whose = "" if kept == "valid_accuracy" else " of the averaged weights"
    reached = best.get(kept)
    words = f"{_four(reached)}{whose} in epoch {epoch_at(facts.rows, number)}"
    known = [value for row in facts.rows if is_number(value := row.get(kept))]
    if is_number(reached) and reached < max(known):  # something else decided, the loss, say
        return f"{told}, {words}, which was kept as the best"
    return f"{told}, best {words}"


def _last_validated(rows: Sequence[Row]) -> int:
    """Where the last row with an accuracy stands; the last one of all where none has."""
    return max((n for n, row in enumerate(rows) if is_number(row.get("valid_accuracy"))), default=len(rows) - 1)


def _kept_column(facts: RunFacts, best: Row) -> str:
    """The accuracy of the weights in best.pt: of the averaged ones where these decided which epoch is the best."""
    settings = dict(facts.config)
    monitor = settings.get("monitor")
    try:
        is_averaged = float(settings.get("ema", "0")) > 0 if monitor is None else monitor.startswith("valid_ema_")
    except ValueError:  # a stranger's config.toml
        is_averaged = False
    return "valid_ema_accuracy" if is_averaged and is_number(best.get("valid_ema_accuracy")) else "valid_accuracy"


def _done(facts: RunFacts) -> str:
    return f"{facts.status.epoch} of {_epochs(facts.status.n_epochs)}"


def _epochs(n: int) -> str:
    return f"{n} epoch{'s' * (n != 1)}"


def _four(value: float | None) -> str:
    return f"{value:.4f}" if is_number(value) else "not known"


def tiles(facts: RunFacts) -> list[dict[str, str]]:
    """The result in five numbers, six with predictions."""
    last = facts.rows[-1] if facts.rows else {}
    seconds = facts.timing.get("seconds", math.fsum(row.get("seconds") or 0 for row in facts.rows))
    trained, train_s = facts.timing.get("images"), facts.timing.get("train_s")
    speed = trained / train_s if trained and train_s else last.get("images_per_s")
    waited, wait_s = last.get("data_wait"), facts.timing.get("data_wait_s")
    waited = wait_s / train_s if wait_s is not None and train_s else waited
    shown = [
        _best_tile(facts),
        (
            "last epoch",
            percent_text(last.get("valid_accuracy")),
            f"accuracy, loss {number_text(last.get('valid_loss'))}",
        ),
        *_calibration_tile(facts),
        ("epochs", count_text(len(facts.rows)), f"of {facts.status.n_epochs} asked for"),
        ("time", duration_text(seconds), "in all" if "seconds" in facts.timing else "the epochs alone"),
        ("training images/s", number_text(speed, 0), f"{percent_text(waited, 0)} of the time waiting for data"),
    ]
    return [{"name": name, "value": value, "more": more} for name, value, more in shown]


def _best_tile(facts: RunFacts) -> tuple[str, str, str]:
    """The epoch that was kept as the best: another than that of the highest accuracy where something else decided."""
    best, number = facts.best_row(), best_number(facts.rows)
    if best is None or number is None:
        return "best epoch", UNKNOWN, ""
    own, averaged = best.get("valid_accuracy"), best.get("valid_ema_accuracy")
    where = f"epoch {epoch_at(facts.rows, number)}"
    if _kept_column(facts, best) == "valid_ema_accuracy":
        return "best epoch", percent_text(averaged), f"EMA accuracy in {where} · own weights {percent_text(own)}"
    more = "" if averaged is None else f" · EMA {percent_text(averaged)}"
    return "best epoch", percent_text(own), f"accuracy in {where}{more}"


def _calibration_tile(facts: RunFacts) -> list[tuple[str, str, str]]:
    said = facts.predictions
    if said is None or not len(said):
        return []
    error, sure, right = said.calibration_error(), float(said.probability_N.mean()), float(said.is_right_N.mean())
    more = f"on average {percent_text(sure, 1)} sure, {percent_text(right, 1)} right"
    return [("calibration error", percent_text(error), more)]
