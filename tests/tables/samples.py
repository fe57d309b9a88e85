"""Tables as people have them: five mixed samples, and scikit-learn's own sets written as CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets

SCIKIT = ("iris", "wine", "breast_cancer", "diabetes", "digits", "linnerud")


def scikit(name: str, folder: Path) -> tuple[Path, str]:
    """Write one of scikit-learn's sets as CSV; return the file and its target."""
    bunch = getattr(datasets, f"load_{name}")()
    frame = pd.DataFrame(bunch.data, columns=list(bunch.feature_names))
    if name == "linnerud":
        for at, target in enumerate(bunch.target_names):
            frame[target] = bunch.target[:, at]
        return _written(frame, folder / f"{name}.csv"), ",".join(bunch.target_names)
    named = name in ("iris", "wine", "breast_cancer")
    frame["target"] = np.array(bunch.target_names)[bunch.target] if named else bunch.target
    return _written(frame, folder / f"{name}.csv"), "target"


def _written(frame: pd.DataFrame, path: Path, **options: Any) -> Path:
    frame.to_csv(path, index=False, **options)
    return path


def adult(folder: Path, rows: int = 2000) -> tuple[Path, str]:
    """Write people and whether they earn more than 50K: blanks behind commas, "?" for missing."""
    rng = np.random.default_rng(1)
    age, hours = rng.integers(17, 80, rows), rng.integers(10, 70, rows)
    education = rng.choice(
        ["HS-grad", "Bachelors", "Masters", "Doctorate", "11th"], rows, p=[0.4, 0.3, 0.15, 0.05, 0.1]
    )
    work = rng.choice(["Private", "Self-emp", "State-gov", "?"], rows, p=[0.7, 0.12, 0.1, 0.08])
    years = pd.Series(education).map({"11th": 7, "HS-grad": 9, "Bachelors": 13, "Masters": 14, "Doctorate": 16})
    score = 0.05 * (age - 40) + 0.4 * (years - 10) + 0.05 * (hours - 40) + (work == "Self-emp")
    income = np.where(score + rng.logistic(0, 0.7, rows) > 0.5, ">50K", "<=50K")
    head = "age, workclass, education, hours-per-week, income"
    lines = [", ".join(map(str, row)) for row in zip(age, work, education, hours, income, strict=True)]
    path = folder / "adult.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path, "income"


def titanic(folder: Path, rows: int = 900) -> tuple[Path, str]:
    """Write passengers: names, missing ages, a class as a number, a counting column without a name."""
    rng = np.random.default_rng(2)
    sex, place = rng.choice(["male", "female"], rows, p=[0.65, 0.35]), rng.integers(1, 4, rows)
    age = rng.normal(30, 12, rows).clip(1, 80).round(1)
    fare = np.exp(rng.normal(4.5 - place, 0.4)).round(2)
    score = 2.2 * (sex == "female") - 0.9 * (place - 2) - 0.02 * age - 0.3
    survived = (score + rng.logistic(0, 0.5, rows) > 0).astype(int)
    names = [f"Passenger, Mr. Number {i}" for i in range(rows)]
    frame = pd.DataFrame({
        "Survived": survived, "Pclass": place, "Name": names, "Sex": sex,
        "Age": np.where(rng.random(rows) < 0.2, np.nan, age), "Fare": fare,
        "Embarked": rng.choice(["S", "C", "Q", ""], rows, p=[0.7, 0.19, 0.1, 0.01]),
    })  # fmt: skip
    frame.to_csv(folder / "titanic.csv")
    return folder / "titanic.csv", "Survived"


def housing(folder: Path, rows: int = 1500) -> tuple[Path, str]:
    """Write houses and their prices: dates of sale, missing numbers, a truth value."""
    rng = np.random.default_rng(3)
    area, year = rng.normal(120, 35, rows).clip(30, 300).round(), rng.integers(1950, 2020, rows)
    town = rng.choice(["Oslo", "Bergen", "Tromso"], rows, p=[0.5, 0.3, 0.2])
    sold = pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 2000, rows), unit="D")
    garden = rng.random(rows) < 0.4
    price = 2500 * area + 900 * (year - 1950) + 90_000 * (town == "Oslo") + 25_000 * garden
    price = price + 40 * (sold - pd.Timestamp("2015-01-01")).days + rng.normal(0, 12_000, rows)
    frame = pd.DataFrame({
        "sold": sold.strftime("%Y-%m-%d"), "area": np.where(rng.random(rows) < 0.05, np.nan, area), "built": year,
        "town": town, "garden": garden, "price": np.asarray(price).round(),
    })  # fmt: skip
    return _written(frame, folder / "housing.csv"), "price"


def penguins(folder: Path, rows: int = 340) -> tuple[Path, str]:
    """Write penguins of three species: four numbers with NA, island and sex."""
    rng = np.random.default_rng(4)
    kind = rng.integers(0, 3, rows)
    means = np.array([[38.8, 18.3, 190, 3700], [48.8, 18.4, 196, 3730], [47.5, 15.0, 217, 5080]])[kind]
    body = means + rng.normal(0, 1, (rows, 4)) * [2.5, 1.1, 6.5, 420]
    body[rng.integers(0, rows, 4)] = np.nan
    places = np.array(["Torgersen", "Dream", "Biscoe"])
    frame = pd.DataFrame(body.round(1), columns=["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"])
    frame.insert(0, "island", np.where(rng.random(rows) < 0.6, places[kind], rng.choice(places, rows)))
    frame["sex"] = rng.choice(["male", "female", "NA"], rows, p=[0.49, 0.49, 0.02])
    frame["species"] = np.array(["Adelie", "Chinstrap", "Gentoo"])[kind]
    return _written(frame, folder / "penguins.csv", na_rep="NA"), "species"


def european(folder: Path, rows: int = 1200) -> tuple[Path, str]:
    """Write energy readings as spreadsheets in Europe do: semicolons, decimal commas, days before months."""
    rng = np.random.default_rng(5)
    warm, wind = rng.normal(12, 7, rows), rng.gamma(2, 2.5, rows)
    day = pd.Timestamp("2021-03-01") + pd.to_timedelta(rng.integers(0, 700, rows), unit="D")
    kind = rng.choice(["Büro", "Wohnung", "Laden"], rows)
    used = 40 - 1.5 * warm + 0.8 * wind + 9 * (kind == "Büro") + rng.normal(0, 2, rows)
    frame = pd.DataFrame({
        "Datum": day.strftime("%d.%m.%Y"), "Temperatur": warm.round(2), "Wind": wind.round(2), "Art": kind,
        "Verbrauch": used.round(2),
    })  # fmt: skip
    return _written(frame, folder / "energie.csv", sep=";", decimal=","), "Verbrauch"


MIXED: tuple[Callable[[Path], tuple[Path, str]], ...] = (adult, titanic, housing, penguins, european)
