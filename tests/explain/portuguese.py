"""What is Portuguese: the words of the room's Portuguese phrases, and names in the code, which are in no language.

Every word of what is shown must be one of the Portuguese phrases, a name (a kernel, a layer, a parameter, a formula), or a
number. The phrases themselves keep an English term only in brackets, beside its translation.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from bpengine.i18n.phrases import PHRASES
from bpengine.i18n.phrases.figures import FIGURES
from bpengine.i18n.phrases.page import PAGE
from bpengine.kernels import KERNELS

TABLES = {
    f"{name} {key}": both
    for name, table in (("explain", PHRASES), ("figure", FIGURES), ("page", PAGE))
    for key, both in table.items()
}
# the field's English terms, which stand in brackets
TERMS = {
    "forward", "pass", "backward", "batch", "bias", "learning", "rate", "step", "size", "function", "chain", "rule",
    "vanishing", "exploding", "callback",
}  # fmt: skip
COGNATES = {"do", "no", "as"}  # Portuguese, too
LOANS = {
    "array", "backpropagation", "dropout", "inf", "javascript", "json", "kb", "kernel", "log", "mathdefault", "nan",
    "softmax", "ulp",
}  # fmt: skip


def tokens(texts: Iterable[str]) -> set[str]:
    return {token for text in texts for token in re.findall(r"\w+", text)}


ROWS = list(KERNELS.values())
FUNCTIONS = [f.__name__ for k in ROWS for f in (k.forward, k.backward) if f]
GIVEN = [*(n for k in ROWS for n in [*k.arguments, *k.outputs, *k.options, *k.formula]), "residual"]
CLASSES = "Dense Activation BatchNorm LayerNorm Dropout Residual SGD Adam weight bias gamma beta dL da dz dy dw rms"
OPTIONS = ["sum", "mean", "batch_mean", "sample", "running_mean", "running_variance", "float32", "float64"]
PROSE = tokens([*KERNELS, *FUNCTIONS, CLASSES, *OPTIONS])  # names that stand in sentences
DRAWN = PROSE | tokens([*GIVEN, *(text for k in ROWS for text in k.formula.values())])  # those of the graph


def spelled(text: str, names: set[str] = PROSE) -> set[str]:
    """Return the words of a text without the names in it, without numbers and single letters."""
    plain = html.unescape(re.sub(r"\{\w+[^}]*\}|\b(a regra|the rule): .*", " ", text))  # of the rule a formula is told
    tokens = [token for token in re.findall(r"\w+", plain) if token not in names]
    return {word.lower() for token in tokens for word in re.findall(r"[^\W\d_]{2,}", token)}


PORTUGUESE = {word for _, text in TABLES.values() for word in spelled(text)} | LOANS


def english(text: str, names: set[str] = PROSE) -> set[str]:
    """Return the words of a text that are not Portuguese."""
    return spelled(text, names) - PORTUGUESE
