"""The head of a report: one line that says what became of the run, and its result in a few numbers."""

from __future__ import annotations

import math

from imagekit.look.epochs import best_number, epoch_at, is_number
from imagekit.look.facts import RunFacts
from imagekit.look.wording import UNKNOWN, count_text, duration_text, number_text, percent_text


def subtitle(facts: RunFacts) -> str:
    """The state of the run, its classes and images; of a failed run why it failed."""
    status, images = facts.status, facts.predictions
    done = f"{status.epoch} of {status.n_epochs} epochs"
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
    """The result for the terminal: accuracy after the last and in the best epoch."""
    best, number = facts.best_row(), best_number(facts.rows)
    if best is None or number is None:
        return f"no validation accuracy yet, {facts.status.epoch} of {facts.status.n_epochs} epochs"
    last, reached = facts.rows[-1].get("valid_accuracy"), best.get("valid_accuracy")
    told, epoch = f"valid accuracy {_four(last)} after {len(facts.rows)} epochs", epoch_at(facts.rows, number)
    known = [value for row in facts.rows if is_number(value := row.get("valid_accuracy"))]
    if is_number(reached) and reached < max(known):  # something else decided, the accuracy of averaged weights, say
        return f"{told}, {_four(reached)} in epoch {epoch}, which was kept as the best"
    return f"{told}, best {_four(reached)} in epoch {epoch}"


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
    averaged = best.get("valid_ema_accuracy")
    more = "" if averaged is None else f" · EMA {percent_text(averaged)}"
    return (
        "best epoch",
        percent_text(best.get("valid_accuracy")),
        f"accuracy in epoch {epoch_at(facts.rows, number)}{more}",
    )


def _calibration_tile(facts: RunFacts) -> list[tuple[str, str, str]]:
    said = facts.predictions
    if said is None or not len(said):
        return []
    error, sure, right = said.calibration_error(), float(said.probability_N.mean()), float(said.is_right_N.mean())
    more = f"on average {percent_text(sure, 1)} sure, {percent_text(right, 1)} right"
    return [("calibration error", percent_text(error), more)]
