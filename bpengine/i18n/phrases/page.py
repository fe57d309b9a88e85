"""Phrases of the page, in English and Brazilian Portuguese, beside those that all of `explain` uses."""

from __future__ import annotations

PAGE: dict[str, tuple[str, str]] = {
    "heading": ("Backpropagation, step by step", "Backpropagation, passo a passo"),
    "about_one": (
        "{sizes}, loss {loss} ({reduction}), {optimizer}, learning rate {rate}, 1 row, {backend} {dtype}",
        "{sizes}, função de perda {loss} ({reduction}), {optimizer}, taxa de aprendizado {rate}, 1 amostra, "
        "{backend} {dtype}",
    ),
    "about": (
        "{sizes}, loss {loss} ({reduction}), {optimizer}, learning rate {rate}, {count} rows, {backend} {dtype}",
        "{sizes}, função de perda {loss} ({reduction}), {optimizer}, taxa de aprendizado {rate}, {count} amostras, "
        "{backend} {dtype}",
    ),
    "about_penalties": ("; penalties: {penalties}", "; penalidades: {penalties}"),
    "language": ("Language", "Idioma"),
    "dark": ("Dark", "Escuro"),
    "stages": ("Where in the step", "Onde no passo"),
    "stage_forward": ("Forward: layer {place}", "Para frente: camada {place}"),
    "stage_loss": ("Loss", "Perda"),
    "stage_backward": ("Backward: layer {place}", "Para trás: camada {place}"),
    "stage_update": ("Update", "Atualização"),
    "next_stage": ("Next", "Próximo"),
    "previous_stage": ("Previous", "Anterior"),
    "sample": ("Sample", "Amostra"),
    "whole_batch_one": ("Whole batch (1 row)", "Lote inteiro (1 amostra)"),
    "whole_batch": ("Whole batch ({count} rows)", "Lote inteiro ({count} amostras)"),
    "sample_option": ("Row {row} → {target}: {x}", "Amostra {row} → {target}: {x}"),
    "network": ("Network", "Rede neural"),
    "network_help": (
        "Point at a unit or a weight; arrow keys move between them.",
        "Aponte para uma unidade ou um peso; as setas movem entre eles.",
    ),
    "inputs": ("Inputs", "Entradas"),
    "column": ("Layer {place}", "Camada {place}"),
    "drawn_one": ("1 of {total} drawn", "1 de {total} desenhada"),
    "drawn": ("{count} of {total} drawn", "{count} de {total} desenhadas"),
    "drawn_briefly": ("{count} of {total}", "{count} de {total}"),
    "forward_legend": ("In the circles: output a. Lines: weights.", "Nos círculos: saída a. Linhas: pesos."),
    "backward_legend": (
        "In the circles: dL/dz, the unit's gradient. Lines: gradient of each weight.",
        "Nos círculos: dL/dz, o gradiente da unidade. Linhas: gradiente de cada peso.",
    ),
    "update_legend": (
        "In the circles: dL/dz. Lines: step of each weight (old - new).",
        "Nos círculos: dL/dz. Linhas: passo de cada peso (antigo - novo).",
    ),
    "batch_forward_legend": (
        "In the circles: mean output over the batch. Lines: weights.",
        "Nos círculos: saída média sobre o lote. Linhas: pesos.",
    ),
    "batch_backward_legend": (
        "In the circles: sum of dL/dz over the batch. Lines: gradient of each weight.",
        "Nos círculos: soma de dL/dz sobre o lote. Linhas: gradiente de cada peso.",
    ),
    "batch_update_legend": (
        "In the circles: sum of dL/dz over the batch. Lines: step of each weight (old - new).",
        "Nos círculos: soma de dL/dz sobre o lote. Linhas: passo de cada peso (antigo - novo).",
    ),
    "factor_legend": ("With \u00d7: a weight in the sum.", "Com \u00d7: um peso na soma."),
    "positive": ("positive (solid)", "positivo (linha cheia)"),
    "negative": ("negative (dashed)", "negativo (tracejada)"),
    "thickness": ("thicker: larger", "mais grossa: maior"),
    "training": ("Training", "Treinamento"),
    "play": ("Play", "Reproduzir"),
    "pause": ("Pause", "Pausar"),
    "step": ("Training step", "Passo de treinamento"),
    "step_of": ("Step {step} of {total}", "Passo {step} de {total}"),
    "loss_now": ("loss {loss}", "perda {loss}"),
    "loss_curve": (
        "Loss at each step, from {first} to {last}; the line marks step {step}: {loss}",
        "Perda em cada passo, de {first} a {last}; a linha marca o passo {step}: {loss}",
    ),
    "log_scale": ("loss, logarithmic", "perda, escala logarítmica"),
    "loss_axis": ("loss", "perda"),
    "thinned": ("{count} of {total} steps are kept, evenly.", "{count} de {total} passos guardados, igualmente espaçados."),
    "thinned_computed": (
        "{count} of {total} steps hold the engine's own numbers, so that the file stays small; this page computes the others "
        "from them when they are shown.",
        "{count} de {total} passos guardam os números do próprio motor, para que o arquivo fique pequeno; esta página calcula "
        "os outros a partir deles quando são mostrados.",
    ),
    "computed_here": ("computed in this page", "calculado nesta página"),
    "step_back": ("One step back", "Um passo para trás"),
    "step_on": ("Do one step", "Fazer um passo"),
    "run_on": ("Run 100", "Fazer 100"),
    "reset": ("Reset", "Recomeçar"),
    "link": ("Link to this state", "Endereço deste estado"),
    "linked": (
        "The address of this page now holds your changes: keep it or send it, beside the file.",
        "O endereço desta página agora guarda suas mudanças: guarde-o ou envie-o, junto com o arquivo.",
    ),
    "save": ("Save", "Salvar"),
    "open": ("Open", "Abrir"),
    "saved": (
        "{name}: weights, rows, learning rate, activations and step, and all changes until here. Open brings them back.",
        "{name}: pesos, amostras, taxa de aprendizado, funções de ativação e passo, e todas as mudanças até aqui. "
        "Abrir os traz de volta.",
    ),
    "opened": ("The page is as {name} holds it.", "A página está como {name} a guarda."),
    "not_opened": ("{name} was not opened. {trouble}", "{name} não foi aberto. {trouble}"),
    "file_not_json": ("It is not a file that this page saved.", "Não é um arquivo que esta página salvou."),
    "file_unknown": (
        "This page has no {name}: the file is of another network.",
        "Esta página não tem {name}: o arquivo é de outra rede.",
    ),
    "file_shape": ("{name} requires {shape} finite numbers.", "{name} exige {shape} números finitos."),
    "link_wrong": (
        "The address of this page holds no state of this network: nothing of it was taken. Copy the whole link again.",
        "O endereço desta página não contém um estado desta rede: nada dele foi usado. Copie de novo o endereço inteiro.",
    ),
    "number_missing": (
        "A number is missing; the value is still {value}.",
        "Falta um número; o valor continua sendo {value}.",
    ),
    "number_wrong": (
        "{text} is not a number: write one such as -0.25 or 1e-3. The value is still {value}.",
        "{text} não é um número: escreva um como -0,25 ou 1e-3. O valor continua sendo {value}.",
    ),
    "number_comma": (
        "{text} has a comma: write the decimal mark as a point, as in 0.5. The value is still {value}.",
        "{text} tem vírgula: escreva um ponto antes das casas decimais, como em 0.5. O valor continua sendo {value}.",
    ),
    "number_large": (
        "{text} is larger than any number that the step can hold. The value is still {value}.",
        "{text} é maior que qualquer número que cabe no passo. O valor continua sendo {value}.",
    ),
    "number_negative": (
        "{text} is not possible: a learning rate is at least 0. The value is still {value}.",
        "{text} não é possível: uma taxa de aprendizado é no mínimo 0. O valor continua sendo {value}.",
    ),
    "number_share": (
        "{text} is not possible: a target of this loss lies from 0 to 1. The value is still {value}.",
        "{text} não é possível: um valor esperado desta função de perda fica entre 0 e 1. O valor continua sendo {value}.",
    ),
    "learning_rate": ("learning rate", "taxa de aprendizado"),
    "activation_of": ("activation of layer {place}", "função de ativação da camada {place}"),
    "edit_help": (
        "Weights, inputs, targets, activations and the learning rate can be changed where they stand; the step is then "
        "computed again in this page.",
        "Pesos, entradas, valores esperados, funções de ativação e a taxa de aprendizado podem ser mudados onde estão; o "
        "passo é então calculado de novo nesta página.",
    ),
    "cannot_edit_too_many": (
        "Numbers cannot be changed in this page: weights and rows would take {what} kB of it, and it holds 720. Give fewer "
        "rows or smaller layers; float32 takes half of float64.",
        "Os números não podem ser mudados nesta página: pesos e amostras ocupariam {what} kB dela, e cabem 720. Dê menos "
        "amostras ou camadas menores; float32 ocupa metade de float64.",
    ),
    "cannot_edit_no_operation": (
        "Numbers cannot be changed in this page: the step calls functions that it cannot compute ({what}).",
        "Os números não podem ser mudados nesta página: o passo chama funções que ela não calcula ({what}).",
    ),
    "cannot_edit_looks": (
        "Numbers cannot be changed in this page: the step decides by single values what it computes ({what}).",
        "Os números não podem ser mudados nesta página: o passo decide por valores isolados o que calcula ({what}).",
    ),
    "cannot_edit_depends": (
        "Numbers cannot be changed in this page: with other numbers the step computes something else than what it can follow.",
        "Os números não podem ser mudados nesta página: com outros números o passo calcula algo que ela não acompanha.",
    ),
    "cannot_edit_differs": (
        "Numbers cannot be changed in this browser: what it computes is not what the engine computed.",
        "Os números não podem ser mudados neste navegador: o que ele calcula não é o que o motor calculou.",
    ),
    "other_terms_one": ("1 other, not drawn", "1 outro, não desenhado"),
    "other_terms": ("the {count} others, not drawn", "os outros {count}, não desenhados"),
    "sum": ("The sum", "A soma"),
    "look_at": ("Look at", "Observar"),
    "units_of": ("Units of layer {place}", "Unidades da camada {place}"),
    "weights_of": ("Weights of layer {place}", "Pesos da camada {place}"),
    "target": ("target", "valor esperado"),
    "unit_name": ("unit {unit}", "unidade {unit}"),
    "input_note": (
        "An input is given; no gradient is needed for it.",
        "Uma entrada é dada; nenhum gradiente é necessário para ela.",
    ),
    "weight_joins": (
        "{name}: from {start} to unit {unit} of layer {place}",
        "{name}: de {start} à unidade {unit} da camada {place}",
    ),
    "weight_of": ("{name}: of unit {unit} of layer {place}", "{name}: da unidade {unit} da camada {place}"),
    "value_now": ("value in this step", "valor neste passo"),
    "sum_weight": ("gradient dL/dw", "gradiente dL/dw"),
    "data_sum": ("sum over the batch", "soma sobre o lote"),
    "its_weights": ("Its weights", "Seus pesos"),
    "weight_aria": (
        "{name}, from {start} to unit {unit} of layer {place}; value {value}, gradient {gradient}",
        "{name}, de {start} à unidade {unit} da camada {place}; valor {value}, gradiente {gradient}",
    ),
    "said": ("Step {step}. {about}: {sum}", "Passo {step}. {about}: {sum}"),
    "too_large": (
        "This network is too large to draw whole: drawn are the units with the largest gradients in the first step (and the "
        "largest inputs). Each sum writes out the terms of what is drawn, and adds up the others.",
        "Esta rede é grande demais para ser desenhada inteira: estão desenhadas as unidades com os maiores gradientes no "
        "primeiro passo (e as maiores entradas). Cada soma escreve os termos do que está desenhado e reúne os outros.",
    ),
    "not_drawn": (
        "Layer {places}: what joins its units to others cannot be drawn or written out, for here a layer of a kind of its own "
        "takes part.",
        "Camada {places}: o que liga suas unidades a outras não pode ser desenhado nem escrito, pois aqui participa uma "
        "camada de um tipo próprio.",
    ),
    "rows_shown": (
        "{count} of {total} rows can be chosen, evenly; sums over the batch are over all of them.",
        "{count} de {total} amostras podem ser escolhidas; as somas sobre o lote são sobre todas.",
    ),
    "not_finite": (
        "The run diverges: in step {step} a number is not finite, and the run ends there. First cause: {cause}. A smaller "
        "learning rate may help.",
        "O treinamento diverge: no passo {step} um número não é finito, e ele termina ali. Primeira causa: {cause}. Uma taxa "
        "de aprendizado menor pode ajudar.",
    ),
    "needs_script": (
        "This page needs JavaScript; it loads nothing from the network.",
        "Esta página precisa de JavaScript; ela não carrega nada da rede.",
    ),
}  # fmt: skip

SHARED = (  # keys of the phrases that the page takes from there

    "unit", "hidden", "output", "loss", "loss_one", "row", "forward", "forward_other", "sum_z", "activation", "output_a",
    "backward", "backward_other", "from_loss", "from_own_loss", "sum_da", "times_slope", "no_slope", "sum_dz",
    "rest", "rest_one",
    "rounding", "outside", "outside_slope",
    "parameters", "averaged", "penalty", "gradient", "step_size", "new_value", "rule_does", "outside_rule",
    "next_unit", "input", "bias",
)  # fmt: skip
