"""From an order and a source to a build that can start: refuse what may not be replaced, plan, compare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imagekit.errors import OutputError
from imagekit.rules.outcomes import unreadable_folders
from imagekit.subset.choose import Choice, choose_by_name
from imagekit.subset.examine import EXAMINED, Examine
from imagekit.subset.facts import FactTable
from imagekit.subset.making import Making, versions
from imagekit.subset.options import options_of
from imagekit.subset.order import Order
from imagekit.subset.plan import place_choice
from imagekit.subset.previous import Previous, compare, read_previous
from imagekit.subset.receipt import Receipt, read_receipt
from imagekit.subset.sources import Source
from imagekit.subset.survey import Survey, cap_classes, name_by_content, no_survey, survey


def open_previous(order: Order) -> Previous | None:
    """The records of what lies at the output; refused where it is not ours or not the same.

    None where everything is to be made anew: it was asked for, or the records are not to be believed.
    Raises OutputError.
    """
    receipt = read_receipt(order.output)  # refuses a folder that is not ours
    if order.overwrite:
        return None
    _require_same_options(order, receipt)
    return read_previous(order.output, receipt)


def prepare(order: Order, found: Source, previous: Previous | None) -> Making:
    """Plan, and compare the plan with what is there. Raises as `make_subset`."""
    names = found.discovery.names
    choice = choose_by_name(names, found.recipe, tables=found.tables, root=str(order.source))
    seen = _survey(order, found, choice, previous) if found.recipe.choose.needs_content() else no_survey()
    cap_classes(names, choice, found.recipe, bad=seen.bad)
    out_format = "bytes" if order.options.size_px is None else order.recipe.resize.format
    with order.workers(Examine(source=str(order.source))) as workers:
        aliases, unread = name_by_content(found.discovery, choice, found.recipe, workers.run)
    bad = seen.bad | unread
    plan = place_choice(found.discovery, choice, found.recipe, out_format=out_format, aliases=aliases, bad=bad)
    facts = FactTable(len(plan.rows()))
    comparison = compare(previous, plan, facts, source=order.source, retry=order.retry) if previous else None
    making = Making(
        found=found,
        recipe=order.recipe,
        plan=plan,
        facts=facts,
        survey=seen,
        output=order.output,
        options=order.options,
        begun=order.begun,
        previous=previous,
        comparison=comparison,
        n_workers=order.n_workers,
        unreadable=tuple(unreadable_folders(found.discovery.unreadable)),
    )
    if previous is None or previous.receipt.versions == versions() or making.is_up_to_date():
        return making
    # images of two versions of a decoder side by side would be a subset that nobody could build again
    return replace(making, facts=FactTable(len(facts)), comparison=None)


def _require_same_options(order: Order, receipt: Receipt) -> None:
    recorded, wanted = options_of(receipt.options), order.options.to_dict()
    other = [f"--{key} {recorded[key]}" for key in wanted if recorded.get(key) != wanted[key] and recorded.get(key)]
    other += [f"no --{key}" for key in wanted if recorded.get(key) is None and wanted[key] is not None]
    if receipt.recipe_sha256 != order.recipe.sha256():
        other.append("another recipe, or other settings of it")
    if other:
        raise OutputError(
            f"the output was built with {' and '.join(other)}",
            where=str(order.output),
            fix="give another -o, or --overwrite to build it anew",
        )


def _survey(order: Order, found: Source, choice: Choice, previous: Previous | None) -> Survey:
    """Look into every candidate; what an earlier build knows of a file that has not changed is not read again."""
    rows = choice.taken()
    facts = FactTable(len(rows))
    if previous:
        now = previous.stamped(order.source, found.discovery.names, rows)
        same = np.flatnonzero(now.is_unchanged)
        known = FactTable(len(rows))
        previous.load(known, same, now.at[same])
        # of an anonymous image, or one that was quarantined at once, nothing is known
        can_tell = known.has("sha256") & known.has("width_in") & ~known.is_bad
        # what became of the image then is nothing that a look at it tells
        facts.take_over(known, can_tell, names=EXAMINED)
    with order.workers(Examine(source=str(order.source))) as workers:
        return survey(found.discovery, choice, found.recipe, facts=facts, run_items=workers.run)
