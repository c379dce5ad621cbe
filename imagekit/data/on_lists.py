"""The Processors of manifests, which encode Arrow columns, on the lists of the data block."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from imagekit.manifest.processors import Processor


class OnLists:
    """A Processor that encodes lists: fitted on the first, which is train's, and only used from then on.

    One output column gives its values; several give a tuple of them an item, in the order of `columns`. Raises what the
    Processor raises.
    """

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self.columns: tuple[str, ...] = ()
        """The names of the output columns, once something was encoded."""

    def process(self, items: list[Any], /) -> list[Any]:
        """Encode the items, one for one."""
        array = pa.array(items)
        if not self.columns:
            self.processor.fit(array)
        encoded = self.processor.process(array)
        self.columns = tuple(encoded)
        values = [column.to_pylist() for column in encoded.values()]
        return values[0] if len(values) == 1 else list(zip(*values, strict=True))

    def deprocess(self, items: list[Any], /) -> list[Any]:
        """The items that were encoded, as far as that can be undone."""
        values = [items] if len(self.columns) == 1 else list(zip(*items, strict=True))
        columns = {name: pa.array(list(value)) for name, value in zip(self.columns, values, strict=True)}
        return list(self.processor.deprocess(columns).to_pylist())
