"""The words in figures, English and Brazilian Portuguese; those that the room has already come from there."""

from __future__ import annotations

from bpengine.i18n.translate import LANGUAGES, Words, translator

LABELS: dict[str, tuple[str, str]] = {
    "loss_curve": ("Loss while training", "Função de perda durante o treinamento"),
    "steps": ("steps taken", "passos dados"),
    "loss_axis": ("loss", "função de perda"),
    "loss_log": ("loss (log scale)", "função de perda (escala log)"),
    "training": ("training", "treinamento"),
    "ended": ("{name}; {stopped}", "{name}; {stopped}"),
    "each_step": ("thin: each step; thick: mean of each epoch", "fina: cada passo; grossa: média de cada época"),
    "validation": ("validation", "validação"),
    "the_end": ("where the fit ended", "onde o treinamento terminou"),
    "stopped_at": ("stopped after {steps} steps by: {rule}", "parou após {steps} passos por: {rule}"),
    "not_finite": ("not finite: {count}, first at {where}", "não finitos: {count}, o primeiro em {where}"),
    "sweep": ("Loss as a function of {names}, all else frozen", "Função de perda ao variar {names}, o resto congelado"),
    "curve": ("loss", "função de perda"),
    "descent_steps": (
        "descent, {count} steps: value - slope x learning rate = new value",
        "descida, {count} passos: valor - inclinação x taxa de aprendizado = novo valor",
    ),
    "descent_any": ("descent, {count} steps", "descida do gradiente, {count} passos"),
    "tangent": ("slope at the start: {slope}", "inclinação no início: {slope}"),
    "start": ("start {value}", "início {value}"),
    "end": ("end {value}", "fim {value}"),
    "descent_end": ("end of the descent: {value}", "fim da descida: {value}"),
    "here": ("the model, {value}", "o modelo, {value}"),
    "fitted": ("Fitted curve and data", "Curva ajustada e dados"),
    "predicted": ("predicted", "predito"),
    "predicted_of": ("predicted, output {unit}", "predito, saída {unit}"),
    "observed": ("observed", "observado"),
    "observed_of": ("observed, output {unit}", "observado, saída {unit}"),
    "residuals": ("residual = observed - predicted", "resíduo = observado - predito"),
    "predicted_with": ("predicted, {name}", "predito, {name}"),
    "sum_squares": ("sum of squared residuals {value}", "soma dos resíduos ao quadrado {value}"),
    "feature": ("input {unit}", "entrada {unit}"),
    "output_axis": ("output", "saída"),
    "boundary": ("Decision boundary", "Fronteira de decisão"),
    "boundary_line": ("boundary: output = {threshold}", "fronteira: saída = {threshold}"),
    "boundary_argmax": ("boundary: two outputs equal", "fronteira: duas saídas iguais"),
    "class": ("class {name}", "classe {name}"),
    "on_right_side": (
        "{right} of {rows} rows on the right side of the boundary",
        "{right} de {rows} amostras do lado certo da fronteira",
    ),
    "wrong_side": ("on the wrong side", "do lado errado"),
    "colourbar": ("output", "saída"),
    "largest_output": ("largest output", "maior saída"),
    "gradients": ("Gradients by layer", "Gradientes por camada"),
    "gradients_below": (
        "How many of each layer's parameters have a partial derivative of which size; loss {loss}",
        "Quantos parâmetros de cada camada têm derivada parcial de que tamanho; função de perda {loss}",
    ),
    "gradient_size": (
        "size of the partial derivative, |dL/dw| (log scale)",
        "tamanho da derivada parcial, |dL/dw| (escala log)",
    ),
    "count": ("number of parameters", "número de parâmetros"),
    "median": ("median", "mediana"),
    "zeros": ("exactly 0: {count} of {size} ({share:.0%})", "exatamente 0: {count} de {size} ({share:.0%})"),
    "bad_count": ("not finite: {count} of {size} (!)", "não finitos: {count} de {size} (!)"),
    "dead_units": ("dead units: {units}", "unidades mortas: {units}"),
    "saturated_units": ("saturated units: {units}", "unidades saturadas: {units}"),
    "of_units": ("{count} of {size} ({first})", "{count} de {size} ({first})"),
    "network": ("Network with values and gradients", "Rede com valores e gradientes"),
    "network_below": (
        "Row {row} of {rows}; loss {loss}; gradients of the weights are those of the whole batch",
        "Amostra {row} de {rows}; função de perda {loss}; os gradientes dos pesos são os do lote (batch) inteiro",
    ),
    "network_one": ("One row; loss {loss}", "Uma amostra; função de perda {loss}"),
    "inputs": ("inputs", "entradas"),
    "layer_head": ("layer {place}: {kind}", "camada {place}: {kind}"),
    "unit_name": ("unit {unit}", "unidade {unit}"),
    "input_name": ("input {unit}", "entrada {unit}"),
    "ones": ("bias", "viés"),
    "target": ("target {value}", "esperado {value}"),
    "key": (
        "in the circle: output a.  below it: \N{PARTIAL DIFFERENTIAL} gradient dL/dz of the unit.  on a line: weight, and "
        "\N{PARTIAL DIFFERENTIAL} its gradient dL/dw\nsolid: positive weight; dashed: negative; dotted: no weight",
        "no círculo: saída a.  abaixo: \N{PARTIAL DIFFERENTIAL} gradiente dL/dz da unidade.  na linha: peso e "
        "\N{PARTIAL DIFFERENTIAL} seu gradiente dL/dw\ncontínua: peso positivo; tracejada: negativo; pontilhada: sem peso",
    ),
    "sum_of_unit": (
        "Gradient of unit {unit} of layer {place} = sum of gradient x weight over the next units:",
        "Gradiente da unidade {unit} da camada {place} = soma de gradiente x peso sobre as unidades seguintes:",
    ),
    "sum_other": (
        "Gradient of unit {unit} of layer {place} = sum of gradient x slope:",
        "Gradiente da unidade {unit} da camada {place} = soma de gradiente x inclinação:",
    ),
}


def spoken(lang: str) -> Words:
    """Return say(key, **values) in a language; raise ConfigError for one that is not spoken here."""
    room, number = translator(lang), LANGUAGES.index(lang)

    def say(key: str, **values: object) -> str:
        return LABELS[key][number].format(**values) if key in LABELS else room(key, **values)

    return say
