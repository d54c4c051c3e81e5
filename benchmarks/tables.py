"""Write the result tables in the documents from the committed result files.

    python benchmarks/tables.py          # rewrite the tables in place
    python benchmarks/tables.py --check  # exit 1 if a document differs

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

import argparse
import re
import sys
from pathlib import Path

from table_answers import answers_table
from table_dependencies import base_table, extras_table
from table_formats import formats_table
from table_ideas import ideas_table
from table_models import models_table
from table_pictures import (
    decoding_table,
    many_answers_table,
    photographs_table,
    sharded_table,
    small_sets_table,
    unknown_features_table,
    unknown_tables,
)
from table_recipes import recipes_table
from table_scaling import cluster_table, scaling_table
from table_serving import serve_tables, workers_table
from table_training import (
    ablations_table,
    changes_table,
    keras_table,
    networks_table,
    peers_table,
    quick_table,
)
from table_transfer import longer_table, transfer_table
from table_transfer import photographs_table as transfer_photographs_table
from table_versions import versions_table

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md",
    "docs/tutorial.md",
    "docs/ideas.md",
    "docs/performance.md",
    "docs/networks.md",
    "docs/transfer.md",
    "docs/own-pictures.md",
    "docs/trust.md",
    "docs/serve.md",
    "docs/export.md",
    "docs/scale.md",
    "docs/design.md",
)
TABLES = {
    "models": models_table,
    "versions": versions_table,
    "base": base_table,
    "extras": extras_table,
    "tutorial_vs_keras": keras_table,
    "tutorial_changes": changes_table,
    "quick_vs_keras": quick_table,
    "recipes": recipes_table,
    "ideas": ideas_table,
    "networks": networks_table,
    "transfer": transfer_table,
    "transfer_longer": longer_table,
    "transfer_photographs": transfer_photographs_table,
    "peers": peers_table,
    "small_sets": small_sets_table,
    "decoding": decoding_table,
    "scaling": scaling_table,
    "cluster": cluster_table,
    "sharded": sharded_table,
    "many_answers": many_answers_table,
    "unknown": unknown_tables,
    "unknown_features": unknown_features_table,
    "photographs": photographs_table,
    "ablations": ablations_table,
    "serve": serve_tables,
    "workers": workers_table,
    "answers": answers_table,
    "formats": formats_table,
}


def with_tables(text: str) -> str:
    """Return the document with every table regenerated."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the documents' result tables.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if stale")
    check: bool = parser.parse_args().check
    stale = []
    for path in (ROOT / name for name in DOCUMENTS):
        if not path.exists():
            continue
        text = path.read_text(encoding="utf-8")
        new = with_tables(text)
        if new != text:
            stale.append(path.name)
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale:
        print(f"{'stale' if check else 'rewritten'}: {', '.join(stale)}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
