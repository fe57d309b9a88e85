"""The public face: names, signatures, commands, JSON keys and printed texts in both languages, as they were last agreed on.

python -m tests.face            # write them anew, after a change that is wanted
python -m tests.face --digits   # print all texts with their numbers, to compare two versions by hand
"""
