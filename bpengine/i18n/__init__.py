"""English and Brazilian Portuguese.

language: which is set, and a sentence in it. catalogue: translations of the sentences of the sources. phrases: those of
explanations, by key, in both languages; translate, message: what is made of them.
"""
