"""The names of the terms of a sum."""

from __future__ import annotations

TERMS: dict[str, tuple[str, str]] = {
    "next_unit": ("unit {unit} of layer {place}", "unidade {unit} da camada {place}"),
    "with_row": ("{label}, row {row}", "{label}, amostra {row}"),
    "input": ("input {unit}", "entrada {unit}"),
    "same_unit": ("this unit's own value", "o valor da própria unidade"),
    "normalized": ("this unit's value, normalized", "o valor desta unidade, normalizado"),
    "straight": ("the input, straight", "a entrada, direta"),
    "inner": ("the inner layers", "as camadas internas"),
    "bias": ("bias", "viés (bias)"),
    "weight": ("weight", "peso"),
    "direct": ("directly", "diretamente"),
    "mean": ("through the mean", "pela média"),
    "variance": ("through the variance", "pela variância"),
    "sum": ("through the softmax's sum", "pela soma do softmax"),
    "own_loss_label": (
        "your loss {name}, row {row}, output {unit}",
        "sua função de perda {name}, amostra {row}, saída {unit}",
    ),
    "outside_label": ("layer {place}, outside of kernels", "camada {place}, fora das chamadas de kernel"),
    "whole": ("taken as a whole", "tomado por inteiro"),
    "activation_slope": (
        "f'(z) of {name}, unit {unit} of layer {place}",
        "f'(z) de {name}, unidade {unit} da camada {place}",
    ),
    "kept": ("kept by dropout or not", "mantida ou não pelo dropout"),
    "inner_add": ("route through the addition", "caminho que passa pela adição"),
    "loss_label": ("loss of row {row}, output {unit}", "perda da amostra {row}, saída {unit}"),
}
