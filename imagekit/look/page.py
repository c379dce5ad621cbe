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
from imagekit.look.style import STYLE

GENERATOR = '<meta name="generator" content="imagekit report">'  # near the start: known again before it is replaced
# base and form do not fall under default-src
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
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
    return environment.from_string(TEMPLATE).render(generator=Markup(GENERATOR), policy=Markup(POLICY), **values)


def data_uri(data: bytes, media_type: str) -> Markup:
    """Bytes as an address that holds them."""
    return Markup(f"data:{media_type};base64,") + Markup(base64.b64encode(data).decode("ascii"))


def _harmless(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(value if len(value) <= MAX_TEXT else f"{value[: MAX_TEXT // 2]}{ELLIPSIS}{value[-MAX_TEXT // 2 :]}")


TEMPLATE = (
    """{% macro fact_tables(columns) %}
<div class="facts">
{% for column in columns %}
<table><tbody>
{% for fact in column %}
<tr><th scope="row">{{ fact.key }}</th><td>{{ fact.value }}
{% if fact.origin %}<span class="origin">{{ fact.origin }}</span>{% endif %}

</td></tr>
{% endfor %}
</tbody></table>
{% endfor %}
</div>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{{ generator }}
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
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
<h2>Classes</h2>
<p class="quiet small">Lowest F1 first{% if classes.n > classes.rows | length %}; the lowest
{{ classes.rows | length }} of {{ classes.n }} classes{% endif %}. Over the classes with images:
{% for name, value in classes.means %}{{ name }} {{ value }}{{ "." if loop.last else ", " }}{% endfor %}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Classes">
<table>
<thead><tr><th scope="col">class</th><th scope="col" class="number">images</th>
<th scope="col" class="number">precision</th><th scope="col" class="number">recall</th>
<th scope="col" class="number">F1</th><th scope="col"></th>
{% if classes.has_train %}
<th scope="col" class="number">train images</th>
{% endif %}
</tr></thead>
<tbody>
{% for item in classes.rows %}
<tr><th scope="row" class="name">{{ item.name }}
{% if item.id != item.name %}<span class="quiet small">{{ item.id }}</span>{% endif %}

</th>
<td class="number">{{ item.n }}</td><td class="number">{{ item.precision }}</td>
<td class="number">{{ item.recall }}</td><td class="number">{{ item.f1 }}</td>
<td><div class="bar"><span style="width:{{ item.width }}%"></span></div></td>
{% if classes.has_train %}
<td class="number">{{ item.n_train }}</td>
{% endif %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
</section>
{% endif %}
{% if worst %}
<section>
<h2>Highest losses</h2>
<p class="quiet small">The {{ worst | length }} images with the highest loss after the best epoch: where the model was
surest of something else, and where a label may be wrong.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Highest losses">
<table>
<thead><tr>{% if has_thumbnails %}<th scope="col"></th>{% endif %}<th scope="col">file</th><th scope="col">label</th>
<th scope="col">prediction</th><th scope="col" class="number">probability</th>
<th scope="col" class="number">loss</th></tr></thead>
<tbody>
{% for item in worst %}
<tr>
{% if has_thumbnails %}
<td class="thumb">{% if item.thumbnail %}<img src="{{ item.thumbnail }}" alt="">{% endif %}</td>
{% endif %}
<td class="name"><code>{{ item.file_name }}</code></td><td class="right">{{ item.truth }}</td>
<td class="{{ "right" if item.is_right else "wrong" }}">{{ item.prediction }}</td>
<td class="number">{{ item.probability }}</td><td class="number">{{ item.loss }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</section>
{% endif %}
{% if telemetry %}
<section>
<h2>Activations</h2>
<p class="quiet small">What the layers gave, step by step.</p>
<div class="picture wide">
<img src="{{ telemetry.uri }}" alt="{{ telemetry.alt }}" width="{{ telemetry.width }}" height="{{ telemetry.height }}">
</div>
</section>
{% endif %}
{% if data_splits or data_facts %}
<section>
<h2>Data</h2>
{% if data_splits %}
<div class="scroll" tabindex="0" role="region" aria-label="Splits">
<table>
<thead><tr><th scope="col">split</th><th scope="col" class="number">images</th>
<th scope="col" class="number">classes</th>
<th scope="col" class="number">fewest of a class</th><th scope="col" class="number">most of a class</th>
<th scope="col"></th></tr></thead>
<tbody>
{% for item in data_splits %}
<tr><th scope="row" class="name">{{ item.split }}</th><td class="number">{{ item.images }}</td>
<td class="number">{{ item.classes }}</td><td class="number">{{ item.fewest }}</td>
<td class="number">{{ item.most }}</td><td class="role">{{ item.role }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{{ fact_tables(data_facts) }}
</section>
{% endif %}
{% if config or command %}
<section>
<h2>Configuration</h2>
{% if command %}
<p><code>{{ command }}</code></p>
{% endif %}
{{ fact_tables(config) }}
</section>
{% endif %}
{% if environment %}
<section>
<h2>Environment</h2>
{{ fact_tables(environment) }}
</section>
{% endif %}
</main>
<footer>Written by imagekit report from the files of the run; nothing on this page is loaded from elsewhere.</footer>
</body>
</html>
"""
)
