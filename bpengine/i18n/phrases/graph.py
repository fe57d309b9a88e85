"""The computational graph."""

from __future__ import annotations

GRAPH: dict[str, tuple[str, str]] = {
    "graph_title_one": ("{sizes}, {name}, 1 row, loss {loss}", "{sizes}, {name}, 1 amostra, função de perda {loss}"),
    "graph_title": (
        "{sizes}, {name}, {count} rows, loss {loss}",
        "{sizes}, {name}, {count} amostras, função de perda {loss}",
    ),
    "graph_layer": ("layer {place}", "camada {place}"),
    "graph_loss": ("loss", "função de perda"),
    "graph_penalty": ("penalty", "penalidade"),
    "graph_sharing": ("shared parameter", "parâmetro compartilhado"),
    "graph_update": ("update", "atualização"),
    "graph_of": ("{what} of {parameter}", "{what} de {parameter}"),
}
