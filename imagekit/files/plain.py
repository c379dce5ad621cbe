"""Text of strangers on one line: a label or a name must not steer a terminal, nor look like a line of ours."""

from __future__ import annotations

import json
import re

MAX_SIGNS = 200
# C0 with tab and newline, DEL, C1, line separators, direction marks (they can disguise a name), lone surrogates
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def plain(value: object, *, max_signs: int = MAX_SIGNS) -> str:
    r"""The value as text that stays on its line: control signs as escapes (\n, \x1b), what is longer cut by "...".

    Text is taken as it is, None is "none", anything else is written as JSON.
    """
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    cut = text if len(text) <= max_signs else text[: max_signs - 3] + "..."  # before a megabyte is looked through
    return _UNSAFE.sub(_escape, cut)


def _escape(match: re.Match[str]) -> str:
    sign = match[0]
    code = ord(sign)
    return _SHORT.get(sign) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
