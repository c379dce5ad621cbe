"""What every batch transform is.

Shapes: B batch.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor


class BatchTransform:
    """A batch in, a batch out, on its device; what is random in it comes from one key per image.

    `_order` says when it runs (lower first); `needs_keys` that it draws, and cannot do without keys.
    """

    _order: ClassVar[int] = 0
    needs_keys: ClassVar[bool] = False

    def __call__(self, x: Tensor, keys_B: Tensor | None = None) -> Tensor:
        """The transformed batch; keys_B (int64) is read by transforms that draw."""
        raise NotImplementedError(type(self).__name__)

    def to_dict(self) -> dict[str, object]:
        """Name and options in plain types, for the record of a run."""
        raise NotImplementedError(type(self).__name__)
