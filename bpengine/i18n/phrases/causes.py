"""Why a number is not finite, and why a descent ended."""

from __future__ import annotations

CAUSES: dict[str, tuple[str, str]] = {
    "cause_parameter": ("parameter {name!r}", "parâmetro {name!r}"),
    "cause_result": ("{name} of {function}", "{name} de {function}"),
    "cause_layer": (" in layer {place}", " na camada {place}"),
    "cause_loss": (" in the loss", " na função de perda"),
    "cause_penalty": (" in the penalty", " na penalidade"),
    "cause_sharing": (
        " in the sum over a shared parameter's uses",
        " na soma sobre os usos de um parâmetro compartilhado",
    ),
    "cause_update": (" in the update", " na atualização"),
    "cause_row": (", row {i}", ", linha {i}"),
    "cause_column": (", column {i}", ", coluna {i}"),
    "cause_element": (", element {i}", ", elemento {i}"),
    "cause_index": (", index {i}", ", índice {i}"),
    "cause_value": (" = {value} ({bad} of {size} values)", " = {value} ({bad} de {size} valores)"),
}

RULES: dict[str, tuple[str, str]] = {  # the texts of History.stopped_by
    "rule_step_size": ("step size below {value}", "tamanho do passo abaixo de {value}"),
    "rule_loss": ("loss below {value}", "função de perda abaixo de {value}"),
    "rule_validation": (
        "no improvement on validation data for {value} epochs",
        "{value} épocas sem melhora nos dados de validação",
    ),
    "rule_validation_epoch": (
        "no improvement on validation data for {value} epoch",
        "{value} época sem melhora nos dados de validação",
    ),
    "rule_validation_metric": (
        "no improvement of {name} on validation data for {value} epochs",
        "{value} épocas sem melhora de {name} nos dados de validação",
    ),
    "rule_validation_metric_epoch": (
        "no improvement of {name} on validation data for {value} epoch",
        "{value} época sem melhora de {name} nos dados de validação",
    ),
    "rule_epochs": ("{value} epochs", "limite de {value} épocas"),
    "rule_epoch": ("{value} epoch", "limite de {value} época"),
    "rule_step": ("{value} step", "limite de {value} passo"),
    "rule_steps": ("{value} steps", "limite de {value} passos"),
    "rule_interrupted": ("interrupted", "interrupção"),
    "rule_callback": ("callback", "função chamada a cada época (callback)"),
}
