"""Give every usable image its split, group by group, and find the groups that a given split tears apart.

n usable images in the order of the manifest's rows; m rows of an older manifest whose files are gone. Splits are codes
into a list of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagekit.errors import SplitError
from imagekit.manifest.leaks import Leak, TornGroups, new_in_torn_groups
from imagekit.manifest.like import OldRows
from imagekit.manifest.options import ManifestOptions
from imagekit.rules.assign import FREE, Draw, assign_folds, assign_splits, rank_names
from imagekit.rules.columns import Coded
from imagekit.rules.given import splits_by_hash
from imagekit.rules.grouping import Components, Likeness, content_codes, join_similar, span_of_like
from imagekit.rules.outcomes import BadFile

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

_DRAWN = ("train", "valid", "test")  # the parts of assign_splits, in its order


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Images:
    """What is known of n images. names: as shown. labels: of one label column. splits: where they are given, else None.
    sha256, dhash: null where the check does not tell. keys: of groups that the user names, code -1 for none, or None.
    """

    names: pa.StringArray
    labels: Coded
    splits: Coded | None
    sha256: pa.Array
    dhash: pa.Array
    keys: Coded | None


@dataclass(kw_only=True, slots=True, eq=False)
class Splitting:
    """The outcome. codes: int32[n], into `words`. folds: int8[n] for k-fold, else None. groups: string[n], null for an
    image by itself. left_out: images that leak, with the reason. n_unlike: images whose hash tells nothing.
    """

    codes: Codes
    words: list[str]
    groups: pa.StringArray
    folds: npt.NDArray[np.int8] | None = None
    leaks: tuple[Leak, ...] = ()
    left_out: list[tuple[int, BadFile]] = field(default_factory=list)
    n_unlike: int = 0

    def is_split(self, split: str) -> Mask:
        """Which images are in a split."""
        code = self.words.index(split) if split in self.words else -2
        is_in: Mask = self.codes == code
        return is_in

    def kept(self) -> Mask:
        """Which images are not left out."""
        kept = np.ones(len(self.codes), np.bool_)
        kept[[row for row, _ in self.left_out]] = False
        return kept


def split_images(images: Images, options: ManifestOptions, *, old: OldRows | None) -> Splitting:
    """Split n images by the rule of `options`, which is settled.

    Raises SplitError for a rule that the images or the older manifest cannot bear.
    """
    rule = options.split_rule
    if rule.kind == "kfold" and old is not None:
        old.check_folds(rule.n_folds)
    words, codes = _given_codes(images, options)
    # a k-fold split is stable if the folds are, so they are what is given and kept
    words = [f"fold {k}" for k in range(rule.n_folds)] if rule.kind == "kfold" else words
    likeness = _likeness(images, old)
    kept = np.ones(len(codes), np.bool_)
    left_out: dict[int, str] = {}
    if old is None:
        components, n_unlike = _components(images, likeness, kept, None)
    else:
        old_codes, words = old.codes(words, as_folds=rule.kind == "kfold")
        follow = _Following(images=images, likeness=likeness, old=old, old_codes=old_codes, words=words)
        codes, components, n_unlike = follow.splits(codes, left_out, is_given=rule.is_given)
        kept = _without(left_out, len(codes))
    is_old = None if old is None else (old.at >= 0) & ~old.is_changed(images.sha256)
    if is_old is not None and rule.is_given and options.leak_rule == "drop":
        # what is new and joins two old splits goes first: without it the old rows may not even belong together
        for row in new_in_torn_groups(codes, components.labels[: len(codes)], is_old).tolist():
            left_out[row] = "belongs to images of more than one split of the older manifest"
        kept = _without(left_out, len(codes))
        components, n_unlike = _components(images, likeness, kept, old)
    labels = components.labels[: len(codes)]
    codes = _draw(images, options, codes, labels, kept)
    torn = TornGroups(names=images.names, words=words, labels=labels, is_old=is_old)
    codes, leaks = torn.resolve(codes, kept, left_out, rule=options.leak_rule)
    folds = codes.astype(np.int8) if rule.kind == "kfold" else None
    if folds is not None:
        codes, words = np.where(codes == 0, np.int32(1), np.int32(0)), ["train", "valid"]
    return Splitting(
        codes=codes,
        words=words,
        folds=folds,
        leaks=leaks,
        n_unlike=n_unlike,
        groups=_group_names(images, labels, kept),
        left_out=[(row, _left_out(images, row, why)) for row, why in sorted(left_out.items())],
    )


def _without(left_out: dict[int, str], n: int) -> Mask:
    kept = np.ones(n, np.bool_)
    kept[list(left_out)] = False
    return kept


def _left_out(images: Images, row: int, why: str) -> BadFile:
    sha256 = images.sha256[row].as_py()
    name = images.names[row].as_py()
    return BadFile(file_name=name, reason="leak", detail=why, sha256=sha256.hex() if sha256 else None)


def _given_codes(images: Images, options: ManifestOptions) -> tuple[list[str], Codes]:
    """The splits that do not depend on other images; FREE where one is to be drawn."""
    rule = options.split_rule
    if images.splits is not None:
        return list(images.splits.values), images.splits.codes.copy()
    if rule.kind != "hash":
        return list(_DRAWN), np.full(len(images.names), FREE, np.int32)
    keys = images.names
    if images.keys is not None:  # rows of one group share a key, so they share a split, whoever else comes
        keys = pc.coalesce(as_texts(images.keys), keys)
    coded = splits_by_hash(keys, valid=rule.valid, test=rule.test, salt=str(options.seed_number))
    if options.group is not None and images.keys is None:  # --group similar: a group goes where its first name goes
        components, _ = _components(images, _likeness(images, None), np.ones(len(keys), np.bool_), None)
        return list(coded.values), coded.codes[components.labels]
    return list(coded.values), coded.codes


def _likeness(images: Images, old: OldRows | None) -> Likeness:
    """What is known of the n images, and behind them of the m gone ones."""
    sha256, dhash = images.sha256, images.dhash
    if old is not None:
        sha256, dhash = pa.concat_arrays([sha256, old.gone_sha256]), pa.concat_arrays([dhash, old.gone_dhash])
    has_hash = np.asarray(dhash.is_valid())
    return Likeness(contents=content_codes(sha256), hashes=np.asarray(dhash.fill_null(0)), has_hash=has_hash)


def _components(images: Images, likeness: Likeness, kept: Mask, old: OldRows | None) -> tuple[Components, int]:
    """Which rows belong together; images that are not kept stand alone. And how many have a hash that tells nothing."""
    n_all = len(likeness.contents)
    is_in = np.concatenate([kept, np.ones(n_all - len(kept), np.bool_)])
    components = Components(n_all)
    contents = np.where(is_in, likeness.contents, np.int32(-1))
    n_unlike = join_similar(components, replace(likeness, contents=contents, has_hash=is_in & likeness.has_hash))
    if images.keys is not None:
        keyed = np.flatnonzero((images.keys.codes >= 0) & kept)
        components.join_equal(keyed, images.keys.codes[keyed])
    if old is not None:
        _join_gone(components, images, kept, old)
    return components, n_unlike


def _join_gone(components: Components, images: Images, kept: Mask, old: OldRows) -> None:
    """Join gone rows to today's by the name of their group: a patient stays in train when all his files are new."""
    today = old.groups_of(old.at)
    if images.keys is not None:
        keys = as_texts(images.keys)
        today = pc.coalesce(keys, today)
    texts = pa.concat_arrays([today, old.groups_of(old.gone)]).dictionary_encode().indices
    is_in = np.concatenate([kept, np.ones(len(old.gone), np.bool_)]) & np.asarray(texts.is_valid())
    rows = np.flatnonzero(is_in)
    components.join_equal(rows, np.asarray(texts.fill_null(-1))[rows])


def as_texts(coded: Coded) -> pa.StringArray:
    """The texts of codes, null for code -1."""
    values = pa.array([*coded.values], pa.string())
    return values.take(pa.array(coded.codes, mask=coded.codes < 0))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Following:
    """Old rows keep their split, new ones join their group's, and what would bridge two splits is left out.

    likeness: of the n images, and of the m gone ones. old_codes: int32[rows of the older manifest], into words.
    """

    images: Images
    likeness: Likeness
    old: OldRows
    old_codes: Codes
    words: list[str]

    def splits(self, codes: Codes, left_out: dict[int, str], *, is_given: bool) -> tuple[Codes, Components, int]:
        """The splits of the n images, FREE for those that still are, and what belongs together; fills `left_out`."""
        old, n = self.old, len(codes)
        own = np.where(old.at >= 0, self.old_codes[np.maximum(old.at, 0)], np.int32(FREE))
        if is_given:  # the source decides about what is new
            components, n_unlike = _components(self.images, self.likeness, np.ones(n, np.bool_), old)
            return np.where(own != FREE, own, codes), components, n_unlike
        is_known = (own != FREE) & ~old.is_changed(self.images.sha256)
        told = np.concatenate([np.where(is_known, own, np.int32(FREE)), self.old_codes[old.gone]])
        # first what is like two splits itself: what is like one of them, and like such a bridge, need not go with it
        low, high = span_of_like(self.likeness, told)
        self._leave_out(low[:n], high[:n], own, ~is_known, left_out)
        components, _ = _components(self.images, self.likeness, _without(left_out, n), old)
        low, high = self._span(components, told)
        self._leave_out(low, high, own, ~is_known, left_out)
        kept = _without(left_out, n)
        components, n_unlike = _components(self.images, self.likeness, kept, old)
        joined = np.where(kept & (high != FREE), high, codes)
        return np.where(own != FREE, own, joined).astype(np.int32), components, n_unlike

    def _span(self, components: Components, told: Codes) -> tuple[Codes, Codes]:
        """The least and the greatest old split in the component of each of the n images."""
        n = len(self.images.names)
        lowest = np.full(len(told), np.iinfo(np.int32).max, np.int32)
        highest = np.full(len(told), FREE, np.int32)
        known = told != FREE
        np.minimum.at(lowest, components.labels[known], told[known])
        np.maximum.at(highest, components.labels[known], told[known])
        return lowest[components.labels[:n]], highest[components.labels[:n]]

    def _leave_out(self, low: Codes, high: Codes, own: Codes, is_new: Mask, left_out: dict[int, str]) -> None:
        """New images that belong to two old splits, or changed ones that belong to another than their own."""
        is_bridge = is_new & (high != FREE) & ((low != high) | ((own != FREE) & (own != high)))
        for row in np.flatnonzero(is_bridge).tolist():
            places = sorted({self.words[int(code)] for code in (low[row], high[row], own[row]) if code != FREE})
            why = f"like images of more than one split of the older manifest: {', '.join(places)}"
            left_out.setdefault(row, why)


def _draw(images: Images, options: ManifestOptions, codes: Codes, labels: Ints, kept: Mask) -> Codes:
    """Draw a part for each free image of a random, stratified or k-fold split."""
    rule = options.split_rule
    if rule.kind not in ("random", "stratified", "kfold"):
        return codes
    n_parts = rule.n_folds or len(_DRAWN)
    rows = np.flatnonzero(kept & (codes < n_parts))  # further words are splits that only the older manifest has
    classes = images.labels.codes[rows] if rule.kind != "random" else np.full(len(rows), -1, np.int32)
    draw = Draw(
        groups=np.unique(labels[rows], return_inverse=True)[1],
        classes=classes,
        ranks=rank_names(
            (name.encode() for name in images.names.take(pa.array(rows)).to_pylist()), seed=options.seed_number
        ),
        given=codes[rows].astype(np.int8),
    )
    codes = codes.copy()
    if rule.kind == "kfold":
        codes[rows] = assign_folds(draw, n_folds=rule.n_folds)
        _check_folds(codes[rows], classes, images.labels.values, n_folds=rule.n_folds)
    else:
        codes[rows] = assign_splits(draw, valid=rule.valid, test=rule.test)
    return codes


def _check_folds(folds: Codes, classes: Codes, values: Sequence[str], *, n_folds: int) -> None:
    """Every fold has an image, and every class is in two folds at least: with one left out, it must be in train."""
    sizes = np.bincount(folds, minlength=n_folds)
    if not sizes.all():
        raise SplitError(
            f"fold {int(np.argmin(sizes))} of {n_folds} would be empty; found: {len(folds):,} images, and their groups",
            where="--split kfold",
            fix="ask for fewer folds, or add images",
        )
    seen = np.zeros((len(values), n_folds), np.bool_)
    seen[classes[classes >= 0], folds[classes >= 0]] = True
    alone = np.flatnonzero(seen.sum(axis=1) == 1)
    if len(alone):
        label = values[int(alone[0])]
        raise SplitError(
            f"every image of {label} is in fold {int(np.argmax(seen[alone[0]]))}, so training without it has none"
            + (f"; so it is with {len(alone) - 1:,} more classes" if len(alone) > 1 else ""),
            where="--split kfold",
            fix="add images that belong to no group of them, or take the class out",
        )


def _group_names(images: Images, labels: Ints, kept: Mask) -> pa.StringArray:
    """The user's key where a component has one, else 16 hex digits of its least sha256; null for an image alone."""
    n = len(labels)
    sizes = np.bincount(labels[kept], minlength=int(labels.max(initial=0)) + 1)
    names = np.full(len(sizes), None, object)
    many = np.flatnonzero(kept & (sizes[labels] > 1))
    digests = images.sha256.take(pa.array(many)).to_pylist()
    for label, digest in zip(labels[many].tolist(), digests, strict=True):
        if digest is not None:
            text = digest.hex()[:16]
            names[label] = text if names[label] is None else min(names[label], text)
    if images.keys is not None:
        keyed = np.flatnonzero(kept & (images.keys.codes >= 0))
        keys = images.keys.codes[keyed]
        least = np.full(len(sizes), len(images.keys.values), np.int64)
        np.minimum.at(least, labels[keyed], keys)  # the values are sorted, so the least code is the least text
        has_key = np.flatnonzero(least < len(images.keys.values))
        names[has_key] = [images.keys.values[code] for code in least[has_key].tolist()]
    texts = names[labels]
    texts[~kept] = None
    return pa.array(texts, pa.string()) if n else pa.array([], pa.string())
