"""Draw which part of the package imports which, from the code: ``docs/pictures/design.svg``.

    python tools/draw_design.py

A part is drawn above all that it imports. Lines implied by others are left out. ``layers`` and
``models`` import each other, but ``layers`` imports only when it builds; so ``models`` is above.
"""

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "firstlight"
PICTURE = ROOT / "docs" / "pictures" / "design.svg"
HOLDS = {
    "cli": "the command",
    "library": "fl.train, Run",
    "estimator": "scikit-learn",
    "verbs": "what a user asks for",
    "serve": "service, page",
    "studio": "the workshop",
    "model": "what answers",
    "export": "other formats",
    "track": "trackers",
    "differences": "of recipes",
    "report": "figures, HTML",
    "explain": "why an answer",
    "backbones": "pretrained",
    "runs": "run folders",
    "runtime": "exported files",
    "training": "the loop",
    "evaluate": "probabilities",
    "models": "layers at work",
    "layers": "layers as values",
    "augment": "flips, crops, noise",
    "optimizers": "Adam, SGD, Muon",
    "schedules": "learning rates",
    "data": "sets, pictures",
    "pixels": "the pixel path",
    "parts": "found by name",
}
WIDTH, HEIGHT, GAP, ROW = 132, 44, 16, 92
STYLE = """
  text { font: 14px system-ui, sans-serif; fill: #1c1c1e; text-anchor: middle }
  .holds { font-size: 12px; fill: #5c5c63 }
  rect { fill: #f6f6f8; stroke: #8e8e96 }
  path { fill: none; stroke: #8e8e96 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f2f2f4 } .holds { fill: #b4b4bc }
    rect { fill: #26262a; stroke: #74747c } path { stroke: #74747c }
  }
"""


def imports(part: str) -> set[str]:
    """Return the parts that this one imports, anywhere in its files."""
    single = PACKAGE / f"{part}.py"
    found: set[str] = set()
    for path in [single] if single.exists() else sorted((PACKAGE / part).glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            names = [f"firstlight.{one.name}" for one in node.names]
            names = names if node.module == "firstlight" else [node.module]
            found |= {name.split(".")[1] for name in names if name.startswith("firstlight.")}
    if part == "layers":
        found.discard("models")
    return (found - {part}) & set(HOLDS)


def picture() -> str:
    """Return the SVG."""
    below = {part: imports(part) for part in HOLDS}
    levels: dict[str, int] = {}

    def level(part: str) -> int:
        if part not in levels:
            levels[part] = 1 + max((level(one) for one in below[part]), default=-1)
        return levels[part]

    def reaches(part: str) -> set[str]:
        return below[part].union(*(reaches(one) for one in below[part]))

    top = max(level(part) for part in HOLDS)
    rows = [[part for part in HOLDS if levels[part] == top - at] for at in range(top + 1)]
    whole = max(len(row) for row in rows) * (WIDTH + GAP) + GAP
    places = {
        part: (
            (whole - len(row) * (WIDTH + GAP) + GAP) / 2 + at * (WIDTH + GAP),
            GAP + down * ROW,
        )
        for down, row in enumerate(rows)
        for at, part in enumerate(row)
    }
    lines, boxes = [], []
    for part, (x, y) in places.items():
        implied = set().union(*(reaches(one) for one in below[part]))
        for one in sorted(below[part] - implied):
            to_x, to_y = places[one][0] + WIDTH / 2, places[one][1]
            from_x, from_y = x + WIDTH / 2, y + HEIGHT
            bend = (to_y - from_y) / 2
            lines.append(
                f'<path d="M{from_x:g} {from_y:g} C{from_x:g} {from_y + bend:g} '
                f'{to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"/>'
            )
        boxes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<text x="{x + WIDTH / 2:g}" y="{y + 19:g}">{part}</text>'
            f'<text class="holds" x="{x + WIDTH / 2:g}" y="{y + 35:g}">{escape(HOLDS[part])}</text>'
        )
    high = GAP + top * ROW + HEIGHT + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {high}" role="img">'
    title = "<title>The parts of firstlight: each stands above those that it imports</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", *lines, *boxes, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
    print(PICTURE)
