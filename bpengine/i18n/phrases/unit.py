"""The explanation of one unit: its sums, its parameters, their step."""

from __future__ import annotations

UNIT: dict[str, tuple[str, str]] = {
    "unit": ("Unit {unit} of layer {place} ({kind})", "Unidade {unit} da camada {place} ({kind})"),
    "hidden": ("hidden layer", "camada oculta"),
    "output": ("output layer", "camada de saída"),
    "loss_one": (
        "Loss {name} ({reduction}) over 1 row: {value}",
        "Função de perda {name} ({reduction}) sobre 1 amostra: {value}",
    ),
    "loss": (
        "Loss {name} ({reduction}) over {count} rows: {value}",
        "Função de perda {name} ({reduction}) sobre {count} amostras: {value}",
    ),
    "row": ("Row {row}", "Amostra {row}"),
    "rows_left_one": ("1 more row; sample=N shows it.", "Mais 1 amostra; sample=N a mostra."),
    "rows_left": (
        "{count} more rows; sample=N shows one of them.",
        "Mais {count} amostras; sample=N mostra uma delas.",
    ),
    "forward": (
        "Forward pass: each input x the weight that joins it to this unit",
        "Passo para frente (forward pass): cada entrada x o peso que a liga a esta unidade",
    ),
    "forward_other": ("Forward pass: the sum of this unit", "Passo para frente (forward pass): a soma desta unidade"),
    "outside_forward": (
        "Forward pass: this layer computes outside of kernels: the terms of a cannot be shown",
        "Passo para frente (forward pass): esta camada calcula fora das chamadas de kernel: os termos de a não podem ser "
        "mostrados",
    ),
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
    "from_own_loss": (
        "Backward pass: from your loss, the gradient that its backward gave, as a whole",
        "Passo para trás (backward pass): da sua função de perda, o gradiente que ela devolveu, por inteiro",
    ),
    "sum_da": ("sum = dL/da", "soma = dL/da"),
    "times_slope": (
        "dL/dz, the unit's gradient = dL/da x f'(z), the derivative of {name}",
        "dL/dz, o gradiente da unidade = dL/da x f'(z), a derivada de {name}",
    ),
    "no_slope": ("dL/dz = dL/da: no activation of its own", "dL/dz = dL/da: sem função de ativação própria"),
    "outside_slope": (
        "{name} computes outside of kernels: the terms of dL/dz cannot be shown",
        "{name} calcula fora das chamadas de kernel: os termos de dL/dz não podem ser mostrados",
    ),
    "sum_dz": ("sum = dL/dz", "soma = dL/dz"),
    "rest_one": ("1 smaller term", "1 termo menor"),
    "rest": ("{count} smaller terms", "{count} termos menores"),
    "rounding": ("rounding of the engine's own sum", "arredondamento da soma feita pelo motor"),
    "outside": (
        "Backward pass: the layer that takes this output computes outside of kernels: the terms of dL/da cannot be shown",
        "Passo para trás (backward pass): a camada que recebe esta saída calcula fora das chamadas de kernel: os termos de "
        "dL/da não podem ser mostrados",
    ),
    "outside_parameter": (
        "{name} is used outside of kernels: the terms of its gradient cannot be shown",
        "{name} é usado fora das chamadas de kernel: os termos do seu gradiente não podem ser mostrados",
    ),
    "parameters": (
        "Gradient of each incoming weight = input x dL/dz, added up over the batch",
        "Gradiente de cada peso de entrada = entrada x dL/dz, somado sobre o lote (batch)",
    ),
    "averaged": (
        "The loss is an average: each row's share is in its dL/dz already.",
        "A perda é uma média: a parte de cada amostra já está no seu dL/dz.",
    ),
    "weights_left_one": ("1 weight with a smaller gradient", "1 peso com gradiente menor"),
    "weights_left": ("{count} weights with smaller gradients", "{count} pesos com gradientes menores"),
    "penalty": ("penalty {name}", "penalidade {name}"),
    "gradient": ("gradient", "gradiente"),
    "shared": ("shared parameter, the sum of all its uses", "parâmetro compartilhado, a soma de todos os seus usos"),
    "use": ("layer {place}", "camada {place}"),
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
    "outside_rule": (
        "the rule {rule} computes outside of kernels: its formula cannot be shown",
        "a regra {rule} calcula fora das chamadas de kernel: a sua fórmula não pode ser mostrada",
    ),
    "bad": (
        "Numbers that are not finite are marked (!). First cause: {cause}.",
        "Números que não são finitos estão marcados (!). Primeira causa: {cause}.",
    ),
    "off": (
        "The terms do NOT add up to the engine's numbers (up to {ulps} ulp off): a backward pass is not what its layer says.",
        "Os termos NÃO somam os números do motor (diferença de até {ulps} ulp): um passo para trás (backward pass) não é o "
        "que a camada diz.",
    ),
}
