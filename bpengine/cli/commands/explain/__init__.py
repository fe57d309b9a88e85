"""`bpengine explain`: gradients term by term; sweeps, sensitivity, graphs, receipts, figures, a page.

command: the options. subject: the model and the rows that are explained. figure: --figure. html_page: --html.
"""

from bpengine.cli.commands.explain.command import HELP, explain

__all__ = ["HELP", "explain"]
