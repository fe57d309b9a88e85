"""`bp.language`: the language of messages."""

from __future__ import annotations

from bpengine.errors import unknown
from bpengine.i18n.language import LANGUAGES, choose, code, current


def language(name: str | None = None) -> str:
    """Set the language of errors, warnings, reports, explanations and progress, for the whole process; return it.

    name: "en" or "pt" (Brazilian Portuguese; "pt-BR" and "pt_BR" are the same); None changes nothing. The default is
    English, or the language in the environment variable BPENGINE_LANG; only the command line uses the locale.
    Names, numbers (with a decimal point), JSON and files are the same in every language.
    Raises: ConfigError for another language.

    >>> bp.language("pt-BR")
    'pt'
    >>> try:
    ...     bp.Dense(0)
    ... except bp.ConfigError as error:
    ...     print(error)
    Dense exige que o número de unidades seja um número inteiro de pelo menos 1, mas recebeu 0.
    >>> bp.language("en")
    'en'
    """
    if name is not None:
        chosen = code(name) if isinstance(name, str) else None
        if chosen is None:
            raise unknown("language", name, LANGUAGES)
        choose(chosen)
    return current()
