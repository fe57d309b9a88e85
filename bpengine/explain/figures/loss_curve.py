"""The loss curve of one fit or several: every step, the epochs' means, validation, and where and why each ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.figures import canvas
from bpengine.explain.result import translator_for
from bpengine.i18n.phrases.figures import FIGURES
from bpengine.i18n.translate import Translate, translated_rule
from bpengine.training.history import History

MARKERS = 10  # of a line
HOLLOW: canvas.Style = {
    "linestyle": (0, (1, 1.2)),
    "linewidth": 1.8,
    "markerfacecolor": "white",
    "markeredgewidth": 1.6,
    "zorder": 4,
}
RING: canvas.Style = {
    "linestyle": "",
    "marker": "o",
    "markersize": 15,
    "markerfacecolor": "none",
    "markeredgewidth": 2.0,
    "zorder": 5,
}

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def loss_curve(
    history: History | Sequence[History] | Mapping[str, History], *, log: bool | None = None, lang: str | None = None
) -> Figure:
    """Return a matplotlib Figure of the loss against the steps taken.

    history: that of one fit, several, or several by name. The loss of a step is the one before its update. Where an epoch has
    several steps, its mean loss is drawn over them; validation losses are drawn at the end of their epoch. log: a logarithmic
    scale; by default where all losses are positive and the largest is at least 100 times the smallest.
    Raises ConfigError for a history without steps, more than four histories, an unknown language, or without matplotlib.

    >>> from bpengine.explain import figures
    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> model = bp.Model(network, dtype="float64")
    >>> runs = {"plain": model.fit(xor.x, xor.y, optimizer=bp.SGD(0.5), steps=20)}
    >>> runs["Adam"] = bp.Model(network).fit(xor.x, xor.y, optimizer=bp.Adam(0.05), steps=20)
    >>> figures.loss_curve(runs).axes[0].get_xlabel()
    'steps taken'
    """
    translate, runs = translator_for(lang, FIGURES), _named(history)
    figure = canvas.sheet(8.0, 5.4)
    axes = canvas.frame(figure.subplots(), translate("steps"), translate("loss_axis"))
    for (name, run), style in zip(runs.items(), canvas.SERIES, strict=False):
        _draw(axes, run, style, _label(name, run, translate))
    _key(axes, runs.values(), translate)
    everything = np.concatenate([np.append(run.loss, run.validation_loss) for run in runs.values()])
    if canvas.spans_decades(everything) if log is None else log:
        axes.set_yscale("log")
        axes.set_ylabel(translate("loss_log"))
    canvas.mark_bad(axes, *_bad(runs, translate))
    canvas.title(figure, translate("loss_curve"))
    canvas.legend(figure, axes, columns=1)
    return figure


def _named(history: History | Sequence[History] | Mapping[str, History]) -> dict[str, History]:
    if isinstance(history, History):
        runs = {"": history}
    elif isinstance(history, Mapping):
        runs = dict(history)
    else:
        runs = {str(i + 1): run for i, run in enumerate(history)}
    if not 1 <= len(runs) <= len(canvas.SERIES):
        raise ConfigError(f"loss_curve requires 1 to {len(canvas.SERIES)} histories, got {len(runs)}.")
    for name, run in runs.items():
        if not isinstance(run, History):
            raise ConfigError(f"loss_curve requires a History, as fit returns it, got {run!r}.")
        if not run.steps:
            raise ConfigError(
                f"loss_curve requires a history with at least one step, got an empty one{f' named {name!r}' if name else ''}."
            )
    return runs


def _label(name: str, run: History, translate: Translate) -> str:
    name = name or translate("training")
    stopped = translate("stopped_at", count=run.steps, rule=translated_rule(run.stopped_by, translate))
    return translate("ended", name=name, stopped=stopped) if run.stopped_by else name


def _draw(axes: Axes, run: History, style: tuple[str, str, str], label: str) -> None:
    """Draw the steps, the means of epochs of several steps, the validation losses, and a ring where the fit ended."""
    colour, marker, line = style
    chosen: canvas.Style = {"color": colour, "marker": marker, "markersize": 7}
    main: canvas.Style = {**chosen, "linestyle": line, "linewidth": 2.4, "label": label, "zorder": 3}
    steps, ends = np.arange(run.steps), [epoch.steps for epoch in run.epochs]
    if has_means(run):
        axes.plot(steps, run.loss, color=colour, alpha=0.35, linewidth=1)
        axes.plot(ends, [epoch.loss for epoch in run.epochs], markevery=_every(len(ends)), **main)
    else:
        axes.plot(steps, run.loss, markevery=_every(run.steps), **main)
    at = [epoch.steps for epoch in run.epochs if epoch.validation]
    if at:
        axes.plot(at, run.validation_loss, markevery=_every(len(at)), **{**chosen, **HOLLOW})
    finite = np.flatnonzero(np.isfinite(run.loss))
    if finite.size and run.stopped_by:
        last = ends[-1] if has_means(run) else finite[-1]
        loss = run.epochs[-1].loss if has_means(run) else run.loss[finite[-1]]
        axes.plot([last], [loss], color=colour, **RING)


def _every(points: int) -> int:
    """Return how many points there are from one marker to the next."""
    return max(1, points // MARKERS)


def has_means(run: History) -> bool:
    """Say whether epochs have several steps each."""
    return 0 < len(run.epochs) < run.steps


def _key(axes: Axes, runs: Iterable[History], translate: Translate) -> None:
    """Add to the legend the meaning of the line styles and markers that are used."""
    runs = list(runs)
    if any(map(has_means, runs)):
        axes.plot([], [], color=canvas.GREY, linewidth=1, label=translate("each_step"))
    if any(run.validation_loss.size for run in runs):
        axes.plot([], [], color=canvas.GREY, marker="o", markersize=7, label=translate("validation"), **HOLLOW)
    if any(run.stopped_by for run in runs):
        axes.plot([], [], color=canvas.GREY, label=translate("the_end"), **RING)


def _bad(runs: Mapping[str, History], translate: Translate) -> tuple[HostArray, str]:
    """Return the steps at which the loss is not finite, and the note on them."""
    bad = np.concatenate([np.flatnonzero(~np.isfinite(run.loss)) for run in runs.values()])
    return bad, translate(
        "not_finite", count=len(bad), where=f"{translate('head_step')} {bad.min() if bad.size else 0}"
    )
