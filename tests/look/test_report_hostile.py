"""Whatever stands in the files of a run, the page has the tags of its template and asks for nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from look.made_runs import DATA, Page, make_run, page_of, write_predictions

from imagekit.files.jsonl import write_json
from imagekit.look import report as report_module
from imagekit.look.report import ReportWritten, write_report
from imagekit.runs.layout import RunLayout
from imagekit.runs.recorder import append_event
from imagekit.runs.status import write_status

HOSTILE = (
    "<script>alert(1)</script>.jpg",
    '"><img src=x onerror=alert(1)>.jpg',
    "{{ 7 * 7 }}{% raw %}.jpg",
    "esc\x1b[31m\u202egpj.jpg",
    "line\nbreak.jpg",
    "a/" + "long" * 2000 + "/end.jpg",
    "日本.jpg",
    "&amp;.jpg",
)
ATTACKS = (
    "<script>alert(1)</script>",
    "</style></title></code><script>x</script>",
    "\" onmouseover='alert(1)' x=\"",
    "' style='background:url(http://evil.example/x)'",
    "<img src=http://evil.example/x>",
    "<!-- <base href=//evil.example> ]]>",
    "javascript:alert(1) url(//evil.example) @import",
    "\u202e\u2066gnp.exe\u200f",
    "a\nb\r\tc\x00\x07\x1b]0;t\x07\x7f\x9b",
    "{{ config }}{% include 'x' %}",
)


@pytest.fixture(autouse=True)
def small_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "CURVES_SIZE", (300, 140))


def make_run_of(root: Path, text: str) -> RunLayout:
    """A failed run in which `text` stands wherever a text can."""
    layout = make_run(root, class_names=(text, f"{text} 2"), file_names=tuple(f"{text}{i}" for i in range(8)))
    write_json(layout.vocab, {"vocab": [f"{text} id", f"{text} id2"], "class_names": [text, f"{text} 2"]})
    write_status(layout.status, state="failed", epoch=3, n_epochs=3)
    append_event(layout.events, "failure", epoch=1, error=text, what=text)
    write_json(layout.command, {"argv": ["imagekit", text, f"--{text}"]})
    write_json(layout.environment, {text: text, "list": [text], "nested": {text: {text: 1}}})
    counts = {text: {"images": 1, "classes": {f"{text} id": 1, f"{text} id2": 2}}, "valid": DATA["counts"]["valid"]}
    told: dict[str, Any] = {**DATA, "manifest": text, "recipe": {"name": text, text: text}, "train_split": text}
    write_json(layout.data, {**told, "stats_source": text, "counts": counts})
    # a comment of TOML holds no control characters: what is left of them is tried
    comment = re.sub(r"[\x00-\x1f\x7f]", "", text)
    quoted = json.dumps(text).replace("\x7f", "\\u007f")
    layout.config.write_text(f"model = {quoted}  # {comment}\n[model_options]\n{quoted} = 1  # {comment}\n", "utf-8")
    write_csv(layout, text)
    return layout


def write_csv(layout: RunLayout, text: str) -> None:
    """metrics.csv with one more column, called so, and one more value, which is no number."""
    name = '"' + re.sub(r"[\r\n]", " ", text).replace('"', '""') + '"'
    header, *rows = layout.metrics.read_text("utf-8").splitlines()
    lines = [f"{header},{name}", *(f"{line},{name}" for line in rows)]
    layout.metrics.write_text("\n".join(lines) + "\n", encoding="utf-8")


def style_values(source: str) -> list[str]:
    """What the style attributes say."""
    return re.findall(r'<[^>]* style="([^"]*)"', source)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Page:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_module, "CURVES_SIZE", (300, 140))
        return page_of(write_report(make_run_of(tmp_path_factory.mktemp("plain") / "run", "plain").root))


@pytest.mark.parametrize("text", ATTACKS)
def test_no_text_of_a_run_becomes_a_tag_an_attribute_or_an_address(tmp_path: Path, harmless: Page, text: str):
    report = write_report(make_run_of(tmp_path / "run", text).root)

    source, page = report.output.read_text(encoding="utf-8"), page_of(report)
    assert report.notes == ("no pictures: give --root DIR",)
    assert page.shape == harmless.shape  # the very tags and attributes, in their order
    assert page.loads
    assert all(address.startswith("data:image/png;base64,") for address in page.loads)
    assert all(re.fullmatch(r"width:[0-9.]+%", value) for value in style_values(source))
    assert page.comments == []
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", source)


def test_every_place_that_shows_a_text_was_tried(harmless: Page):
    places = ("failed after 3 of 3 epochs: plain", "plain 2", "plain id", "imagekit plain --plain", "plain3", "# plain")

    assert all(place.removeprefix("# ") in harmless.text for place in places)
    assert harmless.text.count("plain") > 40
    assert "model\nplain\nplain" in harmless.text  # the value, and its origin
    assert "model_options.plain\n1\nplain" in harmless.text


def test_policy_forbids_all_but_inline_styles_and_pictures_inside_the_page(tmp_path: Path):
    source = write_report(make_run(tmp_path / "run").root).output.read_text(encoding="utf-8")

    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    assert source.count("Content-Security-Policy") == source.count(meta) == 1
    assert source.index(meta) < source.index("<style>")
    assert not any(word in source[: source.index("</style>")] for word in ("url(", "@import", "http:", "https:"))


def test_hostile_names_of_files_and_classes_are_shown_as_text(tmp_path: Path):
    layout = make_run(tmp_path / "run", class_names=("<b onclick=x>", "\x1b]0;t\x07"))
    write_predictions(layout, file_names=HOSTILE, prediction=[1, 1, 1, 1, 0, 0, 0, 0])

    page = page_of(write_report(layout.root))

    for shown in (HOSTILE[0], HOSTILE[1], HOSTILE[2], r"esc\x1b[31m\u202egpj.jpg", r"line\nbreak.jpg", HOSTILE[6]):
        assert shown in page.text
    assert "&amp;.jpg" in page.text  # written as &amp;amp;
    assert "…" in page.text
    assert "long/end.jpg" in page.text
    assert r"\x1b]0;t\x07" in page.text


def test_run_folder_with_a_hostile_name_makes_a_harmless_title(tmp_path: Path):
    page = page_of(write_report(make_run(tmp_path / "<script>x<").root))

    assert "<script>x<" in page.text
    assert "script" not in page.tags


def test_half_a_sign_in_a_json_file_is_shown_escaped(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    layout.environment.write_text('{"name": "\\ud800x"}')

    assert r"\xed\xa0\x80x" in page_of(write_report(layout.root)).text


def test_file_names_that_are_no_text_are_a_damaged_file(tmp_path: Path):
    layout = make_run(tmp_path / "run")
    names = pa.array([b"\xff\xfe"] * 8, pa.binary())
    columns = pq.read_table(layout.predictions).drop_columns("file_name").add_column(0, "file_name", names)
    pq.write_table(columns, layout.predictions)

    report: ReportWritten = write_report(layout.root)

    assert report.notes == (
        "predictions.parquet is damaged: no confusion matrix, no scores per class, no losses of single images",
    )
