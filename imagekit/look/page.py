"""The page of a report: one HTML file that needs nothing else, for screen, phone and paper, light and dark.

Every value that the template prints goes through `_harmless` and then through jinja2's autoescape, so no name of a file
or class can be more than text; were one, the page's own policy forbids scripts and everything from outside.
"""

from __future__ import annotations

import base64
from typing import Any

import jinja2
from markupsafe import Markup

from imagekit.look.lettering import ELLIPSIS, visible

GENERATOR = '<meta name="generator" content="imagekit report">'  # near the start: known again before it is replaced
MAX_TEXT = 300  # signs; longer ones lose their middle, so that a path keeps its file name


def render(**values: Any) -> str:
    """The page as HTML; what `values` are is to be seen in the template."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(TEMPLATE).render(generator=Markup(GENERATOR), **values)


def data_uri(data: bytes, media_type: str) -> Markup:
    """Bytes as an address that holds them."""
    return Markup(f"data:{media_type};base64,") + Markup(base64.b64encode(data).decode("ascii"))


def _harmless(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(value if len(value) <= MAX_TEXT else f"{value[: MAX_TEXT // 2]}{ELLIPSIS}{value[-MAX_TEXT // 2 :]}")


STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f6f7f9; --line: #dfe3e8; --ink: #1f2328; --quiet: #5b6572;
  --right: #0072b2; --wrong: #b34d00; --bar: #e3e7ec; --warn-paper: #fff6e0; --warn-line: #d9a400;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --raised: #1c2026; --line: #323841; --ink: #e6e9ed; --quiet: #a0a9b5;
    --right: #4db2ec; --wrong: #f0955a; --bar: #2b313a; --warn-paper: #2e2810; --warn-line: #b08a1a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 68rem; padding: 1.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.quiet { color: var(--quiet); }
.small { font-size: .875rem; }
.notes {
  margin: 1.25rem 0; padding: .6rem 1rem; background: var(--warn-paper); border-left: 4px solid var(--warn-line);
}
.notes ul { margin: .25rem 0; padding-left: 1.1rem; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0 0;
}
.tiles > div { background: var(--raised); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .9rem; }
.tiles dt { color: var(--quiet); font-size: .8125rem; }
.tiles dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tiles dd small { display: block; color: var(--quiet); font-size: .8125rem; font-weight: 400; }
.scroll { overflow: auto; max-height: 34rem; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .9375rem; }
th, td { padding: .4rem .75rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: middle; }
tbody tr:last-child > * { border-bottom: 0; }
thead th {
  position: sticky; top: 0; background: var(--raised); font-size: .8125rem; color: var(--quiet); white-space: nowrap;
}
tbody th { font-weight: 500; }
.number { text-align: right; white-space: nowrap; }
th.number, td.number { padding-left: .5rem; padding-right: .6rem; }
.name { overflow-wrap: anywhere; min-width: 9rem; }
.best td { font-weight: 600; }
.best td:first-child { box-shadow: inset 3px 0 var(--right); }
.right { color: var(--right); }
.wrong { color: var(--wrong); }
.bar { background: var(--bar); border-radius: 4px; height: .7rem; min-width: 5rem; }
.bar span { display: block; background: var(--right); border-radius: 4px; height: 100%; }
.picture { background: #ffffff; border: 1px solid var(--line); border-radius: 8px; padding: .5rem; }
.picture img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.wide { overflow-x: auto; }
.wide img { min-width: min(34rem, 100vw * 2); }
.thumb { width: 6.5rem; padding: .3rem .3rem .3rem .75rem; }
.thumb img { display: block; max-width: 96px; max-height: 96px; border-radius: 4px; }
code { font: .875em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0 2rem;
  align-items: start;
}
.facts th { width: 45%; font-weight: 400; color: var(--quiet); overflow-wrap: anywhere; }
.facts td { overflow-wrap: anywhere; }
footer { margin-top: 3rem; color: var(--quiet); font-size: .8125rem; }
@media (max-width: 40rem) {
  body { padding: 1rem .75rem 3rem; }
  th, td { padding: .35rem .5rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
}
@media print {
  :root {
    --paper: #ffffff; --raised: #ffffff; --line: #c9ced5; --ink: #000000; --quiet: #444b54; --right: #0072b2;
    --wrong: #b34d00; --bar: #e3e7ec;
  }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  .scroll { max-height: none; overflow: visible; border: 0; }
  thead th { position: static; }
  h2 { break-after: avoid; }
  tr, .picture, .tiles > div { break-inside: avoid; }
  .picture { border: 0; }
  .bar, .bar span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

TEMPLATE = (
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{{ generator }}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }} · imagekit</title>
<style>"""
    + STYLE
    + """</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="quiet">{{ subtitle }}</p>
</header>
{% if notes %}
<section class="notes" aria-label="What is missing">
<ul>
{% for note in notes %}
<li>{{ note }}</li>
{% endfor %}
</ul>
</section>
{% endif %}
<main>
<dl class="tiles">
{% for tile in tiles %}
<div><dt>{{ tile.name }}</dt><dd>{{ tile.value }}<small>{{ tile.more }}</small></dd></div>
{% endfor %}
</dl>
{% if curves %}
<section>
<h2>Curves</h2>
<div class="picture pair">
{% for curve in curves %}
<img src="{{ curve.uri }}" alt="{{ curve.alt }}" width="{{ curve.width }}" height="{{ curve.height }}">
{% endfor %}
</div>
</section>
{% endif %}
{% if epochs.rows %}
<section>
<h2>Epochs</h2>
{% if epochs.is_thinned %}
<p class="quiet small">{{ epochs.rows | length }} of {{ epochs.n }} epochs, evenly spread;
metrics.csv holds them all.</p>
{% endif %}
<div class="scroll" tabindex="0" role="region" aria-label="Epochs">
<table>
<thead><tr>{% for name in epochs.columns %}<th scope="col" class="number">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in epochs.rows %}
<tr{% if row.is_best %} class="best"{% endif %}>
{% for text in row.cells %}<td class="number">{{ text }}</td>{% endfor %}

</tr>
{% endfor %}
</tbody>
</table>
</div>
</section>
{% endif %}
{% if confusion %}
<section>
<h2>Confusion</h2>
<p class="quiet small">Rows are the truth, columns the prediction, {{ n_predictions }} images after the best
epoch. A wrong cell is drawn stronger than its share, so that rare mistakes are seen.</p>
<div class="picture wide">
<img src="{{ confusion.uri }}" alt="{{ confusion.alt }}" width="{{ confusion.width }}" height="{{ confusion.height }}">
</div>
</section>
{% endif %}
{% if mixups %}
<section>
<h2>Most frequent mix-ups</h2>
<div class="scroll" tabindex="0" role="region" aria-label="Most frequent mix-ups">
<table>
<thead><tr><th scope="col">truth</th><th scope="col">taken for</th><th scope="col" class="number">images</th>
<th scope="col" class="number">of the class</th></tr></thead>
<tbody>
{% for item in mixups %}
<tr><td class="name right">{{ item.truth }}</td><td class="name wrong">{{ item.prediction }}</td>
<td class="number">{{ item.count }}</td><td class="number">{{ item.share }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</section>
{% endif %}
{% if classes.rows %}
<section>
<h2>Accuracy per class</h2>
<p class="quiet small">Lowest first{% if classes.n > classes.rows | length %}; the lowest {{ classes.rows | length }} of
{{ classes.n }} classes{% endif %}.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Accuracy per class">
<table>
<thead><tr><th scope="col">class</th><th scope="col" class="number">accuracy</th><th scope="col"></th>
<th scope="col" class="number">right</th><th scope="col" class="number">images</th></tr></thead>
<tbody>
{% for item in classes.rows %}
<tr><th scope="row" class="name">{{ item.name }}
{% if item.id != item.name %}<span class="quiet small">{{ item.id }}</span>{% endif %}

</th>
<td class="number">{{ item.accuracy }}</td>
<td><div class="bar"><span style="width:{{ item.width }}%"></span></div></td>
<td class="number">{{ item.n_right }}</td><td class="number">{{ item.n }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</section>
{% endif %}
{% if errors %}
<section>
<h2>Most certain errors</h2>
<p class="quiet small">The {{ errors | length }} wrong predictions with the highest loss: where the model was surest,
and where a label may be wrong.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Most certain errors">
<table>
<thead><tr>{% if has_thumbnails %}<th scope="col"></th>{% endif %}<th scope="col">file</th><th scope="col">truth</th>
<th scope="col">prediction</th><th scope="col" class="number">probability</th>
<th scope="col" class="number">loss</th></tr></thead>
<tbody>
{% for item in errors %}
<tr>
{% if has_thumbnails %}
<td class="thumb">{% if item.thumbnail %}<img src="{{ item.thumbnail }}" alt="">{% endif %}</td>
{% endif %}
<td class="name"><code>{{ item.file_name }}</code></td><td class="right">{{ item.truth }}</td>
<td class="wrong">{{ item.prediction }}</td><td class="number">{{ item.probability }}</td>
<td class="number">{{ item.loss }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</section>
{% endif %}
{% if config or command %}
<section>
<h2>Configuration</h2>
{% if command %}
<p><code>{{ command }}</code></p>
{% endif %}
<div class="facts">
{% for column in config %}
<table><tbody>
{% for key, value in column %}
<tr><th scope="row">{{ key }}</th><td>{{ value }}</td></tr>
{% endfor %}
</tbody></table>
{% endfor %}
</div>
</section>
{% endif %}
{% if environment %}
<section>
<h2>Environment</h2>
<div class="facts">
{% for column in environment %}
<table><tbody>
{% for key, value in column %}
<tr><th scope="row">{{ key }}</th><td>{{ value }}</td></tr>
{% endfor %}
</tbody></table>
{% endfor %}
</div>
</section>
{% endif %}
</main>
<footer>Written by imagekit report from the files of the run; nothing on this page is loaded from elsewhere.</footer>
</body>
</html>
"""
)
