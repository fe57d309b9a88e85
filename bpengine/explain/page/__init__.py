"""The page: a recorded training run as one interactive HTML file, which computes the step again from edited numbers.

The package can be called as a function: `bpengine.explain.page(model, x, y)`.
"""

from __future__ import annotations

import sys
from inspect import signature
from types import ModuleType

from bpengine.explain.page.document import Page
from bpengine.explain.page.record_run import page

__all__ = ["Page", "page"]


class _CallablePage(ModuleType):
    """A module that can be called as the function of its name."""

    __call__ = staticmethod(page)
    __signature__ = signature(page)


sys.modules[__name__].__class__ = _CallablePage
