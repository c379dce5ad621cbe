"""The stylesheet of a report: light and dark, wide and narrow, and on paper."""

from __future__ import annotations

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
p, li, dd { overflow-wrap: anywhere; }
.quiet { color: var(--quiet); }
.small { font-size: .875rem; }
.notes {
  margin: 1.25rem 0; padding: .6rem 1rem; background: var(--warn-paper); border-left: 4px solid var(--warn-line);
}
.notes ul { margin: .25rem 0; padding-left: 1.1rem; }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0 0;
}
.tiles > div { background: var(--raised); border: 1px solid var(--line); border-radius: 8px; padding: .7rem .8rem; }
.tiles dt { color: var(--quiet); font-size: .8125rem; }
.tiles dd {
  margin: 0; font-size: 1.4rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums;
  letter-spacing: -.01em; white-space: nowrap;
}
.tiles dd small {
  display: block; color: var(--quiet); font-size: .8125rem; font-weight: 400; letter-spacing: 0; white-space: normal;
}
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
.role { color: var(--quiet); white-space: nowrap; }
.origin { color: var(--quiet); font-size: .8125rem; margin-left: .5rem; }
.wide img { min-width: min(34rem, 100vw * 2); }
.thumb { width: 6.5rem; padding: .3rem .3rem .3rem .75rem; }
.thumb img { display: block; max-width: 96px; max-height: 96px; border-radius: 4px; }
code { font: .875em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0 2rem;
  align-items: start;
}
.scroll + .facts { margin-top: 1rem; }
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
