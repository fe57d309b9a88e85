"""The catalogue of sentences: po_file reads `pt.po`, template matches a sentence with a template, catalogue translates.

`pt.po` is a gettext file: Poedit and other editors for translators open it. Each entry is a template from the sources; names
in braces are values, which a translation may place anywhere.
"""
