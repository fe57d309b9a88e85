"""Paths, the forward pass, sweeps and sensitivity."""

from __future__ import annotations

VIEWS: dict[str, tuple[str, str]] = {
    "page_told": ("{title}: an interactive page; {call} writes it", "{title}: uma página interativa; {call} a grava"),
    "path_title_one": (
        "Chain rule of {name}: the one path from the loss",
        "Regra da cadeia (chain rule) de {name}: o único caminho a partir da perda",
    ),
    "path_title": (
        "Chain rule of {name}: the sum over {count:,} paths from the loss",
        "Regra da cadeia (chain rule) de {name}: a soma sobre {count} caminhos a partir da perda",
    ),
    "path_all": ("all paths together", "todos os caminhos juntos"),
    "path_rest_one": ("1 other path", "1 outro caminho"),
    "path_rest": ("{count:,} other paths", "{count} outros caminhos"),
    "path_engine": ("the engine's gradient", "o gradiente do motor"),
    "path_agree": ("they agree", "concordam"),
    "path_differ": ("they DIFFER", "DIFEREM"),
    "path_penalty": ("without the penalty, which adds {value}", "sem a penalidade, que soma {value}"),
    "factor_loss": ("dL/dy of output {unit}, row {row}", "dL/dy da saída {unit}, amostra {row}"),
    "factor_input": ("input of the weight, row {row}", "entrada do peso, amostra {row}"),
    "verdict": (
        "Step function at {threshold}: {value} -> {verdict}; target {target}: {judged}",
        "Função degrau (step function) em {threshold}: {value} -> {verdict}; valor esperado {target}: {judged}",
    ),
    "verdict_alone": (
        "Step function at {threshold}: {value} -> {verdict}",
        "Função degrau (step function) em {threshold}: {value} -> {verdict}",
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
        "Perda enquanto {names} varia, com todo o resto fixo",
    ),
    "descent": ("The descent", "A descida do gradiente"),
    "stopped": ("stopped by: {rule}", "parou por: {rule}"),
    "sens_title": (
        "Sensitivity: how much each parameter moves the loss {loss}",
        "Sensibilidade: quanto cada parâmetro move a função de perda {loss}",
    ),
    "by_layer": ("By layer", "Por camada"),
    "by_unit": ("By unit", "Por unidade"),
    "by_parameter": ("The largest partial derivatives", "As maiores derivadas parciais"),
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
