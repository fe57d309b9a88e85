"""The words of the room, in English and Brazilian Portuguese: the field's own terms in each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from bpengine.errors import unknown

LANGUAGES = ("en", "pt")
Words = Callable[..., str]

PHRASES: dict[str, tuple[str, str]] = {
    "unit": ("Unit {unit} of layer {place} ({kind})", "Unidade {unit} da camada {place} ({kind})"),
    "hidden": ("hidden layer", "camada oculta"),
    "output": ("output layer", "camada de saída"),
    "loss": (
        "Loss {name} ({reduction}) over {rows} row(s): {value}",
        "Função de perda {name} ({reduction}) sobre {rows} amostra(s): {value}",
    ),
    "row": ("Row {row}", "Amostra {row}"),
    "rows_left": (
        "{count} more rows; sample=N shows one of them.",
        "Mais {count} amostras; sample=N mostra uma delas.",
    ),
    "forward": (
        "Forward pass: each input x the weight that joins it to this unit",
        "Passo para frente (forward pass): cada entrada x o peso que a liga a esta unidade",
    ),
    "forward_other": ("Forward pass: the sum of this unit", "Passo para frente (forward pass): a soma desta unidade"),
    "sum_z": ("sum = z", "soma = z"),
    "activation": ("output a = {name}(z)", "saída a = {name}(z)"),
    "output_a": ("output a", "saída a"),
    "backward": (
        "Backward pass: gradient of each next unit x the weight that joins it to this unit",
        "Passo para trás (backward pass): gradiente de cada unidade da camada seguinte x o peso que a liga a esta unidade",
    ),
    "backward_other": (
        "Backward pass: what comes back from the next layer, gradient x slope",
        "Passo para trás (backward pass): o que volta da camada seguinte, gradiente x inclinação",
    ),
    "from_loss": (
        "Backward pass: from the loss, slope of the row's own loss x the row's share in the loss",
        "Passo para trás (backward pass): da função de perda, inclinação da perda da amostra x peso da amostra na perda",
    ),
    "sum_da": ("sum = dL/da", "soma = dL/da"),
    "times_slope": (
        "dL/dz, the unit's gradient = dL/da x f'(z), the derivative of {name}",
        "dL/dz, o gradiente da unidade = dL/da x f'(z), a derivada de {name}",
    ),
    "no_slope": ("dL/dz = dL/da: no activation of its own", "dL/dz = dL/da: sem função de ativação própria"),
    "sum_dz": ("sum = dL/dz", "soma = dL/dz"),
    "rest": ("{count} smaller terms", "{count} termos menores"),
    "rounding": ("rounding of the engine's own sum", "arredondamento da soma feita pelo motor"),
    "nothing": (
        "nothing comes back: no kernel call took this output",
        "nada volta: nenhuma chamada de kernel usou esta saída",
    ),
    "parameters": (
        "Gradient of each incoming weight = input x dL/dz, added up over the batch",
        "Gradiente de cada peso de entrada = entrada x dL/dz, somado sobre o lote (batch)",
    ),
    "averaged": (
        "The loss is an average: each row's share is in its dL/dz already.",
        "A perda é uma média: a parte de cada amostra já está no seu dL/dz.",
    ),
    "weights_left": ("{count} weights with smaller gradients", "{count} pesos com gradientes menores"),
    "penalty": ("penalty {name}", "penalidade {name}"),
    "gradient": ("gradient", "gradiente"),
    "sum_rows": ("sum over {count} rows", "soma sobre {count} amostras"),
    "step": ("Step of {rule}, learning rate {rate}", "Passo de {rule}, taxa de aprendizado (learning rate) {rate}"),
    "step_size": (
        "slope x learning rate = step size: {slope} x {rate} = {step}",
        "inclinação x taxa de aprendizado (learning rate) = tamanho do passo (step size): {slope} x {rate} = {step}",
    ),
    "new_value": (
        "old value - step size = new value: {old} - {step} = {new}",
        "valor antigo - tamanho do passo (step size) = novo valor: {old} - {step} = {new}",
    ),
    "rule_does": ("the rule: {formula}", "a regra: {formula}"),
    "bad": (
        "Numbers that are not finite are marked (!). First cause: {cause}.",
        "Números que não são finitos estão marcados (!). Primeira causa: {cause}.",
    ),
    "off": (
        "The terms do NOT add up to the engine's numbers (up to {ulps} ulp off): a backward pass is not what its layer says.",
        "Os termos NÃO somam os números do motor (diferença de até {ulps} ulp): um backward não é o que a camada diz.",
    ),
    "next_unit": ("unit {unit} of layer {place}", "unidade {unit} da camada {place}"),
    "with_row": ("{label}, row {row}", "{label}, amostra {row}"),
    "input": ("input {unit}", "entrada {unit}"),
    "same_unit": ("this unit's own value", "o valor da própria unidade"),
    "straight": ("the input, straight", "a entrada, direta"),
    "inner": ("the inner layers", "as camadas internas"),
    "bias": ("bias", "viés (bias)"),
    "weight": ("weight", "peso"),
    "direct": ("directly", "diretamente"),
    "mean": ("through the mean", "pela média"),
    "variance": ("through the variance", "pela variância"),
    "sum": ("through the softmax's sum", "pela soma do softmax"),
    "whole": ("taken as a whole", "tomado por inteiro"),
    "activation_slope": (
        "f'(z) of {name}, unit {unit} of layer {place}",
        "f'(z) de {name}, unidade {unit} da camada {place}",
    ),
    "kept": ("kept by dropout or not", "mantida ou não pelo dropout"),
    "inner_add": ("route through the addition", "caminho que passa pela adição"),
    "loss_label": ("loss of row {row}, output {unit}", "perda da amostra {row}, saída {unit}"),
    "head_term": ("term", "termo"),
    "head_left": ("gradient or input", "gradiente ou entrada"),
    "head_right": ("weight or slope", "peso ou inclinação"),
    "head_product": ("product", "produto"),
    "head_quantity": ("sum", "soma"),
    "path_title": (
        "Chain rule of {name}: the sum over {count} path(s) from the loss",
        "Regra da cadeia (chain rule) de {name}: a soma sobre {count} caminho(s) a partir da perda",
    ),
    "path_all": ("all paths together", "todos os caminhos juntos"),
    "path_rest": ("{count} other path(s)", "{count} outro(s) caminho(s)"),
    "path_engine": ("the engine's gradient", "o gradiente do motor"),
    "path_agree": ("they agree", "concordam"),
    "path_differ": ("they DIFFER", "DIFEREM"),
    "path_penalty": ("without the penalty, which adds {value}", "sem a penalidade, que soma {value}"),
    "factor_loss": ("dL/dy of output {unit}, row {row}", "dL/dy da saída {unit}, amostra {row}"),
    "factor_input": ("input of the weight, row {row}", "entrada do peso, amostra {row}"),
    "verdict": (
        "Step function at {threshold}: {value} -> {verdict}; target {target}: {judged}",
        "Função de etapa (step function) em {threshold}: {value} -> {verdict}; valor esperado {target}: {judged}",
    ),
    "verdict_alone": (
        "Step function at {threshold}: {value} -> {verdict}",
        "Função de etapa (step function) em {threshold}: {value} -> {verdict}",
    ),
    "chosen_judged": (
        "Largest output: class {verdict}; target {target}: {judged}",
        "Maior saída: classe {verdict}; valor esperado {target}: {judged}",
    ),
    "right": ("right", "correto"),
    "wrong": ("wrong", "incorreto"),
    "residual": (
        "observed - predicted = residual: {target} - {value} = {residual}",
        "observado - predito = resíduo: {target} - {value} = {residual}",
    ),
    "layer": ("Layer {place} ({kind})", "Camada {place} ({kind})"),
    "sweep_title": (
        "Loss as {names} moves, everything else frozen",
        "Função de perda enquanto {names} se move, todo o resto congelado",
    ),
    "head_loss": ("loss", "perda"),
    "head_slope": ("slope", "inclinação"),
    "head_step_size": ("step size", "tamanho do passo (step size)"),
    "head_new": ("new value", "novo valor"),
    "head_old": ("old value", "valor antigo"),
    "head_step": ("step", "passo"),
    "descent": ("The descent", "A descida do gradiente"),
    "stopped": ("stopped by: {rule}", "parou por: {rule}"),
    "sens_title": (
        "Sensitivity: how much each parameter moves the loss {loss}",
        "Sensibilidade: quanto cada parâmetro move a função de perda {loss}",
    ),
    "by_layer": ("By layer", "Por camada"),
    "by_unit": ("By unit", "Por unidade"),
    "by_parameter": ("The largest partial derivatives", "As maiores derivadas parciais"),
    "head_parameter": ("parameter", "parâmetro"),
    "head_value": ("value", "valor"),
    "head_partial": ("partial", "derivada parcial"),
    "head_share": ("share", "parte"),
    "head_layer": ("layer", "camada"),
    "head_unit": ("unit", "unidade"),
    "head_norm": ("norm of the gradient", "norma do gradiente"),
    "head_rms": ("rms of dL/dz", "rms de dL/dz"),
    "head_ratio": ("relative to the output layer", "em relação à camada de saída"),
    "head_verdict": ("verdict", "veredito"),
    "dead": ("dead", "morta"),
    "saturated": ("saturated", "saturada"),
    "vanishing": ("vanishing gradient", "gradiente que desaparece (vanishing)"),
    "exploding": ("exploding gradient", "gradiente que explode (exploding)"),
    "dead_means": (
        "dead: f'(z) is 0 in every row, so no gradient reaches the unit's weights",
        "morta: f'(z) é 0 em toda amostra, então nenhum gradiente chega aos pesos da unidade",
    ),
    "saturated_means": (
        "saturated: f'(z) stays below {limit:g} of the activation's steepest slope in every row",
        "saturada: f'(z) fica abaixo de {limit:g} da maior inclinação da função de ativação em toda amostra",
    ),
    "vanishing_means": (
        "vanishing or exploding: rms of dL/dz below {low:g} or above {high:g} times the output layer's; a good start keeps "
        "it near 1, and 4^-5 is what five sigmoids leave at the very best",
        "desaparece ou explode: rms de dL/dz abaixo de {low:g} ou acima de {high:g} vezes o da camada de saída; uma boa "
        "inicialização o mantém perto de 1, e 4^-5 é o que cinco sigmoides deixam no melhor caso",
    ),
}


def words(lang: str) -> Words:
    """Return say(key, **values) in a language; raise ConfigError for one that is not spoken here."""
    if lang not in LANGUAGES:
        raise unknown("language", lang, LANGUAGES)
    number = LANGUAGES.index(lang)

    def say(key: str, **values: object) -> str:
        return PHRASES[key][number].format(**values)

    return say


def shown(value: float, digits: int = 10) -> str:
    """Return a number for reading; one that is not finite is marked."""
    return f"{value + 0.0:.{digits}g}" if math.isfinite(value) else f"{value} (!)"


def factor(value: float, digits: int = 10) -> str:
    """Return a number as the second factor of a product: in brackets when it has a sign."""
    text = shown(value, digits)
    return f"({text})" if text.startswith("-") else text


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines, every column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    return ["  " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in [heads, *rows]]
