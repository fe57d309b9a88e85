"""The heads of tables."""

from __future__ import annotations

HEADS: dict[str, tuple[str, str]] = {
    "head_term": ("term", "termo"),
    "head_left": ("gradient or input", "gradiente ou entrada"),
    "head_right": ("weight or slope", "peso ou inclinação"),
    "head_product": ("product", "produto"),
    "head_quantity": ("sum", "soma"),
    "head_loss": ("loss", "perda"),
    "head_slope": ("slope", "inclinação"),
    "head_step_size": ("step size", "tamanho do passo (step size)"),
    "head_new": ("new value", "novo valor"),
    "head_old": ("old value", "valor antigo"),
    "head_step": ("step", "passo"),
    "head_parameter": ("parameter", "parâmetro"),
    "head_value": ("value", "valor"),
    "head_partial": ("partial", "derivada parcial"),
    "head_share": ("share", "parte"),
    "head_layer": ("layer", "camada"),
    "head_unit": ("unit", "unidade"),
    "head_norm": ("norm of the gradient", "norma do gradiente"),
    "head_rms": ("rms of dL/dz", "rms de dL/dz"),
    "head_ratio": ("relative to the output layer", "em relação à camada de saída"),
    "head_input": ("input", "entrada"),
    "head_verdict": ("verdict", "veredito"),
}
