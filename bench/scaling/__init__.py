"""What training on several nodes costs, as formulas, and how far they are from what was measured.

model       the formulas
links       shaped links between the processes of one machine
worker      what each process does on them: exchanges, steps of training
measure     the record of all of it
compare     the record beside the model
nodes       nodes and networks that the page is drawn for
predicted   what the model says of them
page        the tables and the figure of docs/scaling.md
"""
