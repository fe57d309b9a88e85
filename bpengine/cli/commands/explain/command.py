"""`bpengine explain`: gradients term by term; sweeps, sensitivity, graphs, receipts."""

from __future__ import annotations

from pathlib import Path

import typer

from bpengine.cli import data_options, network_options
from bpengine.cli.commands.explain import options
from bpengine.cli.commands.explain.figure import check_figure, save_figure
from bpengine.cli.commands.explain.network_details import NetworkDetails
from bpengine.cli.commands.explain.subject import make_subject
from bpengine.cli.commands.explain.views import Request, choose
from bpengine.cli.exit_codes import FAILED
from bpengine.cli.output import print_json, require_writable, show
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat
from bpengine.explain import verify
from bpengine.explain.result import language_of

HELP = """\
Explain a training step: every gradient as a sum of terms, with the engine's own numbers.

The network is that of a model file, one given by its sizes (2-3-1), or a fresh one for the data. With --layer and --unit:
one unit's sum, its gradient, its weights and their step. With --weight: the chain rule of one weight, path by path. With
neither: the forward pass in words. --sweep, --sensitivity, --graph and --receipt show or write other things instead;
--figure draws, with matplotlib; --html writes a page to step through a short training run, and to change its numbers.
--verify FILE derives a receipt again, with plain NumPy. Exit codes: 0 done, 1 a receipt does not follow, 2 a mistake.

\b
Examples:
  bpengine explain 2-3-1 --data xor --activation sigmoid --loss half_sum_squares --layer 0 --unit 2 --sample 1
  bpengine explain iris.safetensors iris --weight "0.weight[2,1]" --lang pt
  bpengine explain 2-2-1 --data xor --sweep "1.bias=-3:3:13" --json
  bpengine explain 2-2-1 --data xor --receipt step.jsonl
  bpengine explain --verify step.jsonl
  bpengine explain 2-2-1 --data xor --graph svg --out step.svg
  bpengine explain 2-3-1 --data xor --activation sigmoid --loss sigmoid_cross_entropy --learning-rate 5 --html xor.html
  bpengine explain 2-2-1 --data xor --output-activation sigmoid --loss half_sum_squares --parameters w.json --html page.html
  bpengine explain 2-2-1 --data xor --figure network --layer 0 --unit 1 --out unit.png
  bpengine explain 2-2-1 --data xor --figure sweep --sweep "1.bias=-3:3:101" --out sweep.svg
"""


@grouped
def explain(
    *,
    sources: options.Sources = None,
    data: options.Data = None,
    written: TextFormat,
    details: NetworkDetails,
    target: data_options.Target = None,
    layers: network_options.Layers = "64,32",
    activation: network_options.Activation = "relu",
    loss: network_options.LossName = None,
    backend: network_options.BackendName = "numpy",
    dtype: network_options.Dtype = "float64",
    optimizer: network_options.OptimizerName = "sgd",
    learning_rate: network_options.LearningRate = 0.1,
    rows: options.Rows = 128,
    seed: options.Seed = 0,
    layer: options.Layer = None,
    unit: options.Unit = None,
    sample: options.Sample = None,
    weight: options.Weight = None,
    sweep: options.Sweep = None,
    sensitivity: options.Sensitivity = False,
    graph: options.Graph = None,
    figure: options.Figure = None,
    html: options.Html = None,
    steps: options.Steps = 200,
    receipt: options.Receipt = None,
    verify_: options.Verify = None,
    terms: options.Terms = 12,
    lang: options.Lang = None,
    out: options.Out = None,
    force: options.Force = False,
    as_json: options.AsJson = False,
) -> None:
    """Explain and print."""
    # refuse bad options before any work
    lang, update = language_of(lang), network_options.optimizer(optimizer, learning_rate)
    if verify_ is not None:
        _verify(verify_, lang, as_json=as_json)
        return
    request = Request(
        layer=layer, unit=unit, weight=weight, sweep=sweep, sensitivity=sensitivity, graph=graph, receipt=receipt,
        html=html, sample=sample, update=update, steps=steps, terms=terms, lang=lang, out=out, as_json=as_json,
    )  # fmt: skip
    view = choose(request)
    picture = None if figure is None else check_figure(figure, view.name, out)
    for path, option in ((receipt, "--receipt"), (out, "--out"), (html, "--html")):
        if path is not None:
            require_writable(path, force=force, option=option)
    subject = make_subject(
        [*(sources or []), *([] if data is None else [data])], target=target, layers=layers, activation=activation,
        loss=loss, backend=backend, dtype=dtype, rows=rows, seed=seed, written=written, details=details,
    )  # fmt: skip
    if figure is not None and picture is not None:
        save_figure(figure, picture, request, subject)
    else:
        view.run(request, subject)


def _verify(receipt: Path, lang: str, *, as_json: bool) -> None:
    """Derive a receipt again; end with exit code 1 when a line of it does not follow."""
    verdict = verify(receipt)
    print_json(verdict.to_dict()) if as_json else show(verdict.text(lang))
    if not verdict.ok:
        raise typer.Exit(FAILED)
