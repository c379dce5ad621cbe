"""The table of classes by splits, each class with its share; the middle of a long one is left out."""

from __future__ import annotations

from imagekit.files.plain import plain
from imagekit.manifest.overview import NONE, Overview
from imagekit.manifest.schema import Metadata

SHOWN_CLASSES = 20  # at each end of a table of more than twice as many
LABEL_SIGNS = 40


def class_table(metadata: Metadata, facts: Overview) -> list[str]:
    """Lines of text. For lists of labels a row is a label, and counts how often it occurs."""
    ids = {label: str(index) for index, label in enumerate(metadata.vocab)}
    titles = dict(zip(metadata.vocab, metadata.class_names, strict=True))
    totals, splits = facts.label_counts(), list(facts.splits)
    others = sorted(label for label in totals if label not in ids and label != NONE)
    labels = [*metadata.vocab, *others]
    shown = {label: plain(label, max_signs=LABEL_SIGNS) for label in _ends(labels)}
    tail = [NONE] if NONE in totals and NONE not in ids else []
    width = max(map(len, ["class", *shown.values(), *tail]))
    columns = {split: max(8, len(plain(split, max_signs=LABEL_SIGNS))) for split in splits}
    n_all = sum(totals.values())

    def line(name: str, label: str) -> str:
        counts = [f" {facts.splits[split].get(label, 0):>{columns[split]},}" for split in splits]
        title = f"  {plain(titles[label])}" if titles.get(label, label) != label else ""
        share = f" {totals.get(label, 0) / n_all:>7.2%}" if n_all else ""
        return f"  {ids.get(label, ''):>2} {name:<{width}}{''.join(counts)}{share}{title}"

    head = "".join(f" {plain(split, max_signs=LABEL_SIGNS):>{columns[split]}}" for split in splits)
    rows = [line(name, label) for label, name in shown.items()]
    if len(shown) < len(labels):
        rows.insert(SHOWN_CLASSES, f"     ... {len(labels) - len(shown):,} more between; --json tells all")
    sums = "".join(f" {sum(facts.splits[split].values()):>{columns[split]},}" for split in splits)
    more = [line(name, name) for name in tail]
    return [
        f"  id {'class' if metadata.vocab else 'label':<{width}}{head}{'   share' if n_all else ''}",
        *rows,
        *more,
        f"     {'total':<{width}}{sums}",
    ]


def _ends(labels: list[str]) -> list[str]:
    return labels if len(labels) <= 2 * SHOWN_CLASSES else [*labels[:SHOWN_CLASSES], *labels[-SHOWN_CLASSES:]]
