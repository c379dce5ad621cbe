"""A Processor of one's own, as a user would write it."""

from collections.abc import Mapping
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc


class Doubled:
    """Twice the number."""

    name = "Doubled"

    def fit(self, values: pa.Array) -> None:
        """Nothing to learn."""

    def process(self, values: pa.Array) -> dict[str, pa.Array]:
        return {"doubled": pc.multiply(values, 2)}

    def deprocess(self, columns: Mapping[str, pa.Array]) -> pa.Array:
        return pc.divide(columns["doubled"], 2)

    def state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        return cls()
