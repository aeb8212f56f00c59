"""How the report looks: light, calm, and readable on a phone; tables scroll sideways inside their own frame."""

STYLE = """
:root { color-scheme: light }
* { box-sizing: border-box }
body { margin: 0; background: #fafaf8; color: #2b2b2b;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem }
h1 { font-size: 1.7rem; font-weight: 650; margin: .6rem 0 .2rem; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; font-weight: 650; margin: 0 0 .7rem }
h3 { font-size: 1rem; font-weight: 600; margin: 1.4rem 0 .4rem }
.lead { color: #666; margin: .1rem 0 1.2rem }
p { margin: .3rem 0 .8rem; overflow-wrap: anywhere }
.note { font-size: .83rem; color: #6f6f6b }
section { background: #fff; border: 1px solid #e8e8e4; border-radius: 10px; padding: 1.1rem 1.2rem; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .92rem }
th { text-align: left; font-weight: 600 }
.facts { width: 100% }
.facts th { width: 24%; color: #666; font-weight: 400; vertical-align: top }
.facts td, .facts th { padding: .28rem .6rem .28rem 0; border-bottom: 1px solid #f1f1ee; overflow-wrap: anywhere }
.facts tr:last-child > * { border: 0 }
.wide { overflow-x: auto }
.scores td, .scores th, .plain td, .plain th { padding: .4rem .9rem .4rem .4rem; vertical-align: top; white-space: nowrap }
.scores tr + tr > *, .plain tr + tr > * { border-top: 1px solid #efefec }
.scores tr:first-child th, .plain tr:first-child th { color: #666; font-weight: 500 }
.scores td > :first-child { font-variant-numeric: tabular-nums; font-size: 1.02rem }
.scores b { color: #00557f }
.small, .role { display: block; font-size: .76rem; color: #7f7f7b; font-weight: 400 }
p.alarm { border-left: 4px solid #c0392b; padding-left: .7rem }
tr.run > * { background: #f3f8fb }
.better td:last-child { color: #00704f }
.worse td:last-child { color: #b04a00 }
.unclear td:last-child { color: #7f7f7b }
figure { margin: .6rem 0 1.1rem }
img { width: 100%; max-width: 34rem; height: auto; display: block }
img.sheet { width: auto; max-width: 100%; border-radius: 3px }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 0 1rem }
.tiles img { max-width: 24rem }
figcaption { font-size: .85rem; color: #666; margin-top: .35rem; overflow-wrap: anywhere }
pre { background: #f6f6f3; border-radius: 6px; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; margin: .2rem 0 }
ul { padding-left: 1.2rem; margin: .3rem 0 }
li { margin: .2rem 0; overflow-wrap: anywhere }
@media (max-width: 36rem) {
  main { padding: 1rem .6rem 3rem }
  section { padding: .9rem .8rem }
  .facts th { width: 40% }
}
"""
