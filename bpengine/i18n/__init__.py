"""English and Brazilian Portuguese.

language: the language that is set, and a sentence in it. catalogue: translations of the sentences of the sources. phrases:
those of explanations, by key, in both languages; translate, message: texts made from them.
"""
