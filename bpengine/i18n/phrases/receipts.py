"""Results of verifying a receipt: that every line follows, or which line does not and why."""

from __future__ import annotations

RECEIPTS: dict[str, tuple[str, str]] = {
    "receipt_follows": (
        "every line follows: {lines} lines, {values} values derived again",
        "toda linha confere: {lines} linhas, {values} valores derivados de novo",
    ),
    "receipt_fails": ("line {line} does not follow: {reason}", "a linha {line} não confere: {reason}"),
    "receipt_truncated": (
        "the receipt ends before its result: it is truncated",
        "o recibo termina antes do resultado: está truncado",
    ),
    "receipt_after": ("there are lines after the result", "há linhas depois do resultado"),
    "receipt_no_json": ("it is not JSON (character {at})", "não é JSON (caractere {at})"),
    "receipt_damaged": ("it is damaged: {error}", "está danificada: {error}"),
    "receipt_no_head": (
        "it is not the head of a receipt of the format {format!r}",
        "não é o cabeçalho de um recibo do formato {format!r}",
    ),
    "receipt_no_entry": (
        "it is no head, given array, call or result",
        "não é cabeçalho, array dado, chamada nem resultado",
    ),
    "receipt_array_twice": ("array {array} is there already", "o array {array} já existe"),
    "receipt_length": (
        "array {array} has {count} values, its shape {shape}",
        "o array {array} tem {count} valores, sua forma {shape}",
    ),
    "receipt_dtype": (
        "array {array} has values that are no {dtype}",
        "o array {array} tem valores que não são {dtype}",
    ),
    "receipt_no_dtype": (
        "array {array} is of the dtype {dtype}, which no receipt has",
        "o array {array} é do tipo {dtype}, que nenhum recibo tem",
    ),
    "receipt_arguments": (
        "{function} is not given the arguments of its kernel: {names}",
        "{function} não recebe os argumentos do seu kernel: {names}",
    ),
    "receipt_options": (
        "{function} is given options that its kernel does not have: it has {names}",
        "{function} recebe opções que seu kernel não tem: ele tem {names}",
    ),
    "receipt_shapes": (
        "an array of {function} does not have the shape that its kernel says",
        "cada array de {function} deve ter a forma que seu kernel diz",
    ),
    "receipt_missing": (
        "{name} is array {array}, which no line before it holds",
        "{name} é o array {array}, que nenhuma linha anterior contém",
    ),
    "receipt_no_forward": (
        "{function} is said to be the reverse of call {call}, which is no such forward",
        "{function} diz ser o inverso da chamada {call}, que não é o passo para frente correspondente",
    ),
    "receipt_no_partner": (
        "{function} does not translate which forward call it is the reverse of",
        "{function} não diz de qual chamada do passo para frente é o inverso",
    ),
    "receipt_no_kernel": ("there is no kernel function {function!r}", "não existe a função de kernel {function!r}"),
    "receipt_formula": (
        "the formula of {name} in {function} is {right!r}, not {wrong!r}",
        "a fórmula de {name} em {function} é {right!r}, não {wrong!r}",
    ),
    "receipt_no_output": ("{function} has no output {name!r}", "{function} não tem a saída {name!r}"),
    "receipt_differs": ("{name} of {function}{where}{why}", "{name} de {function}{where}{why}"),
    "receipt_shape": (" has the shape {got}, derived {derived}", " tem a forma {got}, derivada {derived}"),
    "receipt_other": (" is not what is derived", " não é o que se deriva"),
    "receipt_value": (
        "{index} is {got!r} in the receipt, derived {derived!r}",
        "{index} é {got!r} no recibo, derivado {derived!r}",
    ),
    "receipt_one": (
        "the gradient of the loss with respect to itself must be 1",
        "o gradiente da função de perda em relação a ela mesma deve ser 1",
    ),
    "receipt_counter": (
        "the step number is not the counter's step + 1",
        "o número do passo não é o passo do contador + 1",
    ),
    "receipt_call_twice": ("call {call} is there already", "a chamada {call} já existe"),
    "receipt_no_loss": ("there is no loss", "não há função de perda"),
    "receipt_loss": (
        "the loss is {loss}, the head says {head}",
        "a função de perda é {loss}, o cabeçalho diz {head}",
    ),
    "receipt_x": (
        "x has the shape {shape}, the head says {head}",
        "x tem a forma {shape}, o cabeçalho diz {head}",
    ),
    "receipt_rule": (
        "the update rule is {rule}, the head says {head}",
        "a regra de atualização é {rule}, o cabeçalho diz {head}",
    ),
    "receipt_slots": (
        "the step of {name!r} does not use what the rule remembers of it, in order",
        "o passo de {name!r} não usa, em ordem, o que a regra guarda dele",
    ),
    "receipt_role": (
        "{name} of the loss is not the given {role}",
        "{name} da função de perda não é o array dado {role}",
    ),
    "receipt_row_weights": (
        "the weights that {function} is given are not those of the loss",
        "os pesos dados a {function} não são os da função de perda",
    ),
    "receipt_backwards": (
        "{function} has {times} backward calls, it must have one",
        "{function} tem {times} chamadas no passo para trás, deve ter uma",
    ),
    "receipt_begins": ("a backward pass begins with the gradient 1", "o passo para trás começa com o gradiente 1"),
    "receipt_cotangent": (
        "{name} of {function} is not the sum of what came back from the uses of its forward's output",
        "{name} de {function} não é a soma do que voltou dos usos da saída do seu passo para frente",
    ),
    "receipt_total": (
        "the loss named is not the loss with all penalties",
        "a perda indicada não é a função de perda com todas as penalidades",
    ),
    "receipt_gradients": (
        "the gradients named are not those of the parameters given",
        "os gradientes indicados não são os dos parâmetros dados",
    ),
    "receipt_updated": (
        "the updated named are not those of the parameters given",
        "os novos valores indicados não são os dos parâmetros dados",
    ),
    "receipt_gradient": (
        "the gradient named for {name!r} is not the sum of what came back from its uses",
        "o gradiente indicado para {name!r} não é a soma do que voltou dos seus usos",
    ),
    "receipt_new_value": (
        "the new value named for {name!r} is not a step of {rule} from it along its gradient",
        "o novo valor indicado para {name!r} não é um passo de {rule} a partir dele ao longo do seu gradiente",
    ),
    "receipt_rate": (
        "the step of {name!r} does not use the step number and learning rate given",
        "o passo de {name!r} não usa o número do passo e a taxa de aprendizado dados",
    ),
}
