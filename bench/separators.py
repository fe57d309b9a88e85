"""Which separators are found: this engine beside csv.Sniffer, pandas, clevercsv and DuckDB, on samples of public dialects.

    python bench/separators.py

Each sample is twenty lines in the manner of a well-known file, with the number of columns that a person sees in it; a finder
is right where its first row below the header has as many. Libraries that are not installed are left out. Prints JSON.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from bpengine.data.tables.layout import TextOptions, find_layout

LINES = 20
Sample = tuple[str, str, int]  # what it is like, its text, its columns
IRIS = ("sl", "sw", "pl", "pw", "species")


def table(row: str, head: str = "") -> str:
    """Return lines in which # is the number of the line, @ a number with a point, $ one with a comma."""
    texts = (row.replace("#", str(at)).replace("@", f"{at * 7 % 11}.{at}").replace("$", f"{at * 7 % 11},{at}")
             for at in range(10, 10 + LINES))  # fmt: skip
    return "".join(f"{line}\n" for line in ([head] if head else []) + list(texts))


def samples() -> Iterator[Sample]:
    """Yield the samples."""
    for name, sep in (("comma", ","), ("semicolon", ";"), ("tab", "\t"), ("pipe", "|")):
        row = sep.join(["@", "@", "@", "@", "setosa"])
        yield f"iris, {name}", table(row, sep.join(IRIS)), 5
        yield f"iris, {name}, no header", table(row), 5
    yield "iris, blanks", table("@ @ @ @ setosa", "a b c d k"), 5
    yield "adult", table("#, Private, 77516, Bachelors, <=50K"), 5
    yield "wine quality", table("@;0.7;@;5", '"fixed acidity";"volatile acidity";"citric acid";"quality"'), 4
    yield "bank marketing", table('#;"admin.";"married";"basic.4y";"no"', '"age";"job";"marital";"education";"y"'), 5
    yield (
        "titanic",
        table('#,0,3,"Braund, Mr. Owen ""Bud""",male,22,7.25,,S', "Id,Survived,Class,Name,Sex,Age,Fare,Cabin,Port"),
        9,
    )
    yield "abalone", table("M,@,@,@,#"), 5
    yield "Boston housing, fixed width", table(" 0.0#  18.00   @  0  5#.20"), 5
    pair = zip(table("@\t\t@\t@\t1").splitlines(), table("@\t@\t@\t2").splitlines(), strict=True)
    yield "seeds, runs of tabs", "".join(f"{line}\n" for both in pair for line in both), 4
    yield "auto-mpg", table('@   8   3#.0      130.0      3504.\t"chevrolet chevelle malibu"'), 6
    yield "yacht, blanks at the end", table("@ @ @ @ "), 4
    yield "decimal commas, semicolon", table("$;$;$;$", "a;b;c;d"), 4
    yield "decimal commas, tab", table("$\t$\t$\t$", "a\tb\tc\td"), 4
    yield "decimal commas, blanks", table("$  $  $", "a b c"), 3
    yield "R, write.table", table('"#" @ @ "x"', '"a" "b" "k"'), 4
    yield "R, write.csv", table('"#",@,@,"x"', '"","a","b","k"'), 4
    yield "one column of numbers", table("@", "price"), 1
    yield "one column of words", table("nana", "anna"), 1
    yield "one column of sentences", table("the cat sat on mat #", "text"), 1
    yield "SMS, tab and text", table("ham\tGo until jurong point, crazy.. call #"), 2
    yield "text, semicolon", table('"hello, number #; well";1', "text;y"), 2
    yield "times, comma", table("2020-01-# 10:00:00,@", "time,temperature"), 2
    yield "times, semicolon", table("#.01.2020 10:00;$", "Zeit;Wert"), 2
    yield "household power", table("16/12/2006;17:#:00;@;@;?", "Date;Time;A;B;C"), 5
    yield "addresses", table("http://a.org/#?q=1;2,1", "url,label"), 2
    yield "movies", table('#,"Toy Story, The (1995)",Adventure|Animation', "movieId,title,genres"), 3
    yield "MovieLens, u.data", table("#\t242\t3\t881250949"), 4
    yield "MovieLens, u.item", table("#|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/Toy%20Story%20(1995)|0|1"), 7
    yield "penguins", table("Adelie,Torgersen,NA,@,male", "species,island,length,depth,sex"), 5
    yield "all quoted", table('"@","@","yes"', '"a","b","k"'), 3
    yield "single quotes", table("@,@,'g'"), 3
    yield "empty fields", table("#,,@,", "a,b,c,d"), 4
    yield "two columns", table("@,1"), 2
    yield "banknotes", table("@,-@,@,-@,0"), 5
    yield "Pima", table("#,148,72,35,0,33.6,0.627,50,1"), 9
    yield "commas in quotes between semicolons", table('#;"1,5";x', "id;pos;k"), 3
    yield "JSON in a cell", table('#\t{"a": 1, "b": [1, 2, #]}\tx', "id\tj\tk"), 3


def own(text: str) -> int:
    """Return the columns that this engine sees."""
    return find_layout(io.BytesIO(text.encode()), "sample", TextOptions()).width


def sniffer(text: str) -> int:
    """Return the columns under the dialect of csv.Sniffer."""
    return len(list(csv.reader(io.StringIO(text), csv.Sniffer().sniff(text)))[1])


def pandas(text: str) -> int:
    """Return the columns of pandas with sep=None, those of its index among them."""
    import pandas as pd

    frame = pd.read_csv(io.StringIO(text), sep=None, engine="python")
    return frame.shape[1] + (0 if isinstance(frame.index, pd.RangeIndex) else frame.index.nlevels)


def clevercsv(text: str) -> int:
    """Return the columns under the dialect of clevercsv."""
    import clevercsv as clever

    return len(list(clever.reader(io.StringIO(text), clever.Sniffer().sniff(text)))[1])


def duckdb(text: str) -> int:
    """Return the columns of DuckDB's reader."""
    import duckdb as duck

    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write(text)
        file.flush()
        return len(duck.sql(f"SELECT * FROM read_csv('{file.name}', sample_size=-1)").columns)


FINDERS: tuple[Callable[[str], int], ...] = (own, sniffer, pandas, clevercsv, duckdb)


def seen(finder: Callable[[str], int], text: str) -> int | str:
    """Return the columns that a finder sees, or the kind of its error: each library raises its own."""
    try:
        return finder(text)
    except Exception as error:
        return type(error).__name__


def main() -> None:
    """Compare and print."""
    warnings.simplefilter("ignore")
    every = list(samples())
    results: dict[str, Any] = {"samples": len(every)}
    for finder in FINDERS:
        library = finder.__name__
        if finder not in (own, sniffer) and importlib.util.find_spec(library) is None:
            continue
        began = time.process_time()
        wrong = {name: got for name, text, columns in every if (got := seen(finder, text)) != columns}
        results[library] = {
            "version": version(library) if finder not in (own, sniffer) else None,
            "wrong": len(wrong),
            "cpu_seconds": round(time.process_time() - began, 3),
            "which": wrong,
        }
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
