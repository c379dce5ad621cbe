"""The data block: items, split into train and valid, labelled, and made into loaders.

    il = ImageList.from_files(path, tfms=[make_rgb, ResizeFixed(128), to_byte_tensor])
    sd = SplitData.split_by_func(il, partial(grandparent_splitter, valid_name="val"))
    ll = label_by_func(sd, parent_labeler, proc_y=CategoryProcessor())
    data = ll.to_databunch(64, c_in=3)

Each step takes the one before it and any function of one's own. Source: fast.ai course v3, lesson 11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from imagekit.data.batches import Collate, Sample, collate
from imagekit.data.bunch import DataBunch, get_dls
from imagekit.data.items import ImageList, ItemList, Transforms
from imagekit.data.lists import is_position, listify
from imagekit.data.loaders import check_one_label, valid_split
from imagekit.data.on_lists import OnLists
from imagekit.data.order import SampleRef
from imagekit.errors import LabelError, ShapeError, SplitError, UsageError
from imagekit.manifest.processors import CategoryProcessor, Processor
from imagekit.manifest.read import Manifest
from imagekit.rules import splitters


class ListProcessor(Protocol):
    """What the data block asks of a Processor: it learns from the first list it is given, which is train's."""

    def process(self, items: list[Any], /) -> list[Any]:
        """Encode the items, one for one."""
        ...

    def deprocess(self, items: list[Any], /) -> list[Any]:
        """The items that were encoded, as far as that can be undone."""
        ...


Processors = ListProcessor | Sequence[ListProcessor] | None


class SplitData:
    """What is learnt from and what is validated on: two ItemLists, then two LabeledData.

    A public attribute that it does not have is train's. n_dropped: items that the splitter put in neither.
    """

    def __init__(self, train: Any, valid: Any, *, n_dropped: int = 0) -> None:
        self.train, self.valid, self.n_dropped = train, valid, n_dropped

    def __getattr__(self, name: str) -> Any:
        # a copy that is being made has no train yet: asking it for one would come back here without end
        if name.startswith("_") or "train" not in self.__dict__:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(self.train, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("train", "valid", "n_dropped"):
            raise AttributeError(f"set {name!r} on train or on valid: what is read here is train's")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        dropped = f"In neither: {self.n_dropped} items\n" if self.n_dropped else ""
        return f"{type(self).__name__}\nTrain: {self.train}\nValid: {self.valid}\n{dropped}"

    @classmethod
    def split_by_func(cls, il: ItemList, f: Callable[[Any], bool | None]) -> Self:
        """Split by what a function says of each item: True is valid, False train, None neither.

        Raises SplitError where train or valid would be empty.
        """
        train, valid = splitters.split_by_func(il.items, f)
        n_dropped = len(il) - len(train) - len(valid)
        empty = [name for name, items in (("train", train), ("valid", valid)) if not items]
        if empty:
            raise SplitError(
                f"{' and '.join(empty)} would be empty: of {len(il)} items the function said "
                f"True (valid) for {len(valid)}, False (train) for {len(train)}, None (neither) for {n_dropped}",
                where="SplitData.split_by_func",
                fix='name the folders as they are: partial(grandparent_splitter, valid_name="val"), say',
            )
        return cls(il.new(train), il.new(valid), n_dropped=n_dropped)

    @classmethod
    def from_manifest(
        cls, manifest: Manifest, *, tfms: Transforms = None, root: Path | None = None, seed: int = 0
    ) -> Self:
        """A manifest's train rows and those that `valid_split` names, labelled as it says, with one Processor for both.

        The transforms are those of both; assign others to `valid.x.tfms`. Raises ManifestError when a split is empty or
        there are several label columns, LabelError for rows without a label.
        """
        proc_y = CategoryProcessor(manifest.vocab)
        train, valid = (
            LabeledData.from_manifest(manifest, split, tfms=tfms, root=root, seed=seed, proc_y=proc_y)
            for split in ("train", valid_split(manifest))
        )
        return cls(train, valid)

    def to_databunch(
        self,
        bs: int,
        c_in: int | None = None,
        c_out: int | None = None,
        num_workers: int = 0,
        *,
        collate: Collate = collate,
        pin_memory: bool = False,
    ) -> DataBunch:
        """Loaders over both, by `get_dls`. c_in: channels of an image; c_out: classes, by default those of the vocab.

        Raises LabelError before there are labels.
        """
        for name, data in (("train", self.train), ("valid", self.valid)):
            if isinstance(data, LabeledData):
                continue
            raise LabelError(
                f"the items have no labels yet: {name} is an {type(data).__name__}",
                where="SplitData.to_databunch",
                fix="label them first: label_by_func(sd, parent_labeler, proc_y=CategoryProcessor()), say",
            )
        train_dl, valid_dl = get_dls(
            self.train, self.valid, bs, num_workers=num_workers, collate=collate, pin_memory=pin_memory
        )
        return DataBunch(train_dl, valid_dl, c_in=c_in, c_out=_n_classes(self.train) if c_out is None else c_out)


class LabeledData:
    """Items and their labels: `x, y = ds[i]`, and two lists for a slice, a list or a mask.

    x, y: ItemLists of one length. proc_x, proc_y: Processors that encode the items of either in turn, here and now; one
    that has learnt already only encodes. Raises ShapeError where x and y differ in length.
    """

    def __init__(self, x: ItemList, y: ItemList, proc_x: Processors = None, proc_y: Processors = None) -> None:
        self.x, self.y = _processed(x, proc_x), _processed(y, proc_y)
        self.proc_x, self.proc_y = proc_x, proc_y
        self.seed: int = self.x.seed
        if len(self.x) != len(self.y):
            raise ShapeError(
                f"x has {len(self.x)} items, y has {len(self.y)}",
                where="LabeledData",
                fix="give a label for each item, and Processors that keep the length of a list",
            )

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        return self.x[index], self.y[index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}\nx: {self.x}\ny: {self.y}\n"

    def samples(self, refs: Sequence[SampleRef]) -> list[Sample]:
        """The samples of a batch, in the order of the refs, for a Loader; refs of one batch share an epoch."""
        xs, keys_B = self.x.load(refs)
        ys = self.y.load(refs)[0] if self.y.tfms else [self.y.items[ref.row] for ref in refs]
        return [Sample(x, y, key, ref.row) for x, y, key, ref in zip(xs, ys, keys_B.tolist(), refs, strict=True)]

    def x_obj(self, index: Any) -> Any:
        """The x at an index, a list of them for a slice, as it was before its Processors."""
        return _unprocessed(self.x, index, self.proc_x)

    def y_obj(self, index: Any) -> Any:
        """The y at an index, a list of them for a slice, as it was before its Processors: the name of a class, say."""
        return _unprocessed(self.y, index, self.proc_y)

    @classmethod
    def label_by_func(
        cls, il: ItemList, f: Callable[[Any], Any], proc_x: Processors = None, proc_y: Processors = None
    ) -> Self:
        """Label each item by what a function says of it; nothing is loaded.

        Raises LabelError where it says None, and what f and the Processors raise.
        """
        labels = [f(item) for item in il.items]
        without = [item for item, label in zip(il.items, labels, strict=True) if label is None]
        if without:
            raise LabelError(
                f"the function gave no label for {len(without)} of {len(labels)} items, {without[0]} for one",
                where="label_by_func",
                fix="return a label for each item, or leave such items out before",
            )
        return cls(il, ItemList(labels, il.path, seed=il.seed), proc_x, proc_y)

    @classmethod
    def from_manifest(
        cls,
        manifest: Manifest,
        split: str,
        *,
        tfms: Transforms = None,
        root: Path | None = None,
        seed: int = 0,
        proc_y: CategoryProcessor | None = None,
    ) -> Self:
        """The rows of a manifest's split; a label is the class that its target stands for. y is the target.

        proc_y: of another split of this manifest, to share it. Raises ManifestError for a split that is not there and
        for several label columns, LabelError for rows without a label.
        """
        check_one_label(manifest)
        proc_y = proc_y or CategoryProcessor(manifest.vocab)
        x = ImageList.from_manifest(manifest, split, tfms=tfms, root=root, seed=seed)
        labels = proc_y.decode(manifest.rows(split, columns=("target",))["target"])
        if labels.null_count:
            raise LabelError(
                f"{labels.null_count} of the {len(labels)} rows of {split} have no label",
                where=str(manifest.path),
                fix=f'take ImageList.from_manifest(manifest, "{split}") for images without labels',
            )
        return cls(x, ItemList(labels.to_pylist(), x.path, seed=seed), proc_y=proc_y)


def label_by_func(
    sd: SplitData, f: Callable[[Any], Any], proc_x: Processors = None, proc_y: Processors = None
) -> SplitData:
    """Label train, then valid, with the very same Processors: what they learn comes from train alone.

    Raises what f and the Processors raise: CategoryProcessor refuses a label that train does not have.
    """
    train, valid = (LabeledData.label_by_func(il, f, proc_x, proc_y) for il in (sd.train, sd.valid))
    return SplitData(train, valid, n_dropped=sd.n_dropped)


def _processed(il: ItemList, processors: Processors) -> ItemList:
    items = il.items
    for processor in listify(processors):
        if isinstance(processor, Processor) and not isinstance(processor, CategoryProcessor | OnLists):
            name = type(processor).__name__
            raise UsageError(
                f"{name} encodes columns of a manifest", where="LabeledData", fix=f"wrap it: OnLists({name}())"
            )
        items = processor.process(items)
    return il.new(items)


def _unprocessed(il: ItemList, index: Any, processors: Processors) -> Any:
    items = il.pick(il.positions(index))
    for processor in reversed(listify(processors)):
        items = processor.deprocess(items)
    return items[0] if is_position(index) else items


def _n_classes(labeled: LabeledData) -> int | None:
    vocabs = [processor.vocab for processor in listify(labeled.proc_y) if getattr(processor, "vocab", None)]
    return len(vocabs[-1]) if vocabs else None
