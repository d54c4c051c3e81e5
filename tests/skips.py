"""Skipped tests that are expected although everything installable is installed. Any other skip is
an error there.

``.ci/run`` sets ``FIRSTLIGHT_SKIPS=expected``, and ``FIRSTLIGHT_MISSING`` to what it could not
install. A run then fails if a test was skipped for another reason.
"""

import os
import re

EXPECTED = (
    "there is no CUDA device",
    "no Keras here",  # it needs an environment of its own
    "no LiteRT here",  # so does it: make litert
    "nothing is closed to the superuser",
    "no strace, or it may not look at processes here",
    "network namespaces need",
    "SCIPY_ARRAY_API is not set",  # one of scikit-learn's own checks
    "FirstlightClassifier does not have a decision_function",  # another
)
"""Reasons, as regular expressions."""
BY_PACKAGE = {
    "chromium": "there is no Chromium",
    "npm": "node is not on this machine|no onnxruntime-web|no TypeScript|"
    "axe-core is not on this machine",
    "postgresql": "no PostgreSQL server",
    "dataset-fashion-mnist": "fashion_mnist is not on this machine",
}
"""Reasons, by the system package whose absence they name."""


def unexpected(reasons: list[str]) -> list[str]:
    """Return the reasons that nothing explains; empty unless requested."""
    if os.environ.get("FIRSTLIGHT_SKIPS") != "expected":
        return []
    missing = os.environ.get("FIRSTLIGHT_MISSING", "").split()
    known = [*EXPECTED, *(BY_PACKAGE[name] for name in missing if name in BY_PACKAGE)]
    if "FIRSTLIGHT_DATA" not in os.environ:
        known.append("is not on this machine; set FIRSTLIGHT_DATA")
    return [reason for reason in reasons if not any(re.search(one, reason) for one in known)]
