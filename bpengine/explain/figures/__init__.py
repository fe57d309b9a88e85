"""Figures of explanations, drawn with matplotlib (extra `plot`).

Each function returns a `matplotlib.figure.Figure` and changes no global state: save it by `figures.save(figure, "name.svg")`
or use any method of the figure. Texts are English, or Portuguese with lang="pt".
"""

from __future__ import annotations

from bpengine.explain.figures.canvas import package as require_matplotlib
from bpengine.explain.figures.decision_boundary import decision_boundary
from bpengine.explain.figures.draw import KINDS, draw
from bpengine.explain.figures.fitted_curve import fitted_curve
from bpengine.explain.figures.gradient_histograms import gradient_histograms
from bpengine.explain.figures.loss_curve import loss_curve
from bpengine.explain.figures.network import network
from bpengine.explain.figures.save import check_target, save
from bpengine.explain.figures.sweep import sweep

__all__ = [
    "KINDS",
    "check_target",
    "decision_boundary",
    "draw",
    "fitted_curve",
    "gradient_histograms",
    "loss_curve",
    "network",
    "require_matplotlib",
    "save",
    "sweep",
]
