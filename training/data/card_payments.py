"""Generated card payments, some of them fraud. No real person, card or shop is in them.

Real payments with labels are not free to hand on, so this stands in for a bank's own table: it
shows that the machinery works, not how well it would do on real fraud. It was written, and fixed,
before any model was fitted to it. Knows no model.

Each cardholder has habits (usual amount, shops, waking hours, reach, journeys abroad), and honest
payments break them as life does: a fridge is bought, a night spent out, an app paid in bursts.
Fraud comes as visits of four kinds, each of which is at times quite like an honest payment:

``testing``   small payments on the internet, minutes apart, to see which stolen numbers work
``takeover``  an account is used at night, for goods that are easily sold on
``excess``    one payment many times the cardholder's usual, in a shop like any other
``stolen``    the card itself, in shops not far away, as often as it goes before it is blocked
"""

from dataclasses import dataclass

import numpy as np

from model_store.inputs.table import Column
from model_store.spec import Array
from training.data.labelled_rows import LabelledRows

SOURCE = (
    "generated card payments (training.data.card_payments, no real ones): 300 made-up cardholders,"
    " 60 days"
)
LICENSE = "Apache-2.0 (generated)"
LABEL = "fraud"
CARDHOLDERS, DAYS, VISITS = 300, 60, 70
DAY_S = 86_400
SHOPS = (
    "cash", "clothing", "electronics", "entertainment", "fuel", "gift_cards", "groceries", "health",
    "online_services", "restaurant", "transport", "travel",
)  # fmt: skip
SHARES = np.array([5, 7, 2.5, 5, 8, 1, 28, 5, 10, 15, 11, 2.5]) / 100
PRICES = np.array([80, 55, 140, 25, 50, 40, 32, 24, 12, 28, 9, 220])  # of a usual payment
ON_INTERNET = np.array([0, 0.4, 0.5, 0.4, 0, 0.7, 0.1, 0.15, 1, 0.12, 0.3, 0.7])
DAYS_OF_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
COLUMNS = (
    Column(name="amount"),
    Column(name="amount_over_usual"),  # the cardholder's median before; 1 at the first payment
    Column(name="merchant_category", categories=SHOPS),
    Column(name="hour"),
    Column(name="weekday", categories=DAYS_OF_WEEK),
    Column(name="distance_from_home_km"),
    Column(name="seconds_since_last"),
    Column(name="payments_last_day"),
    Column(name="country", categories=("home", "abroad")),
    Column(name="card_present", categories=("no", "yes")),
)


@dataclass(frozen=True)
class _Holder:
    """One made-up person's habits."""

    wealth: float  # multiple of the prices
    shares: Array  # [SHOPS]
    noon: float  # hour about which the payments lie
    waking_h: float  # their standard deviation
    reach_km: float
    per_day: float
    journey: tuple[float, float]  # first and last day abroad; none where they are equal


@dataclass(frozen=True)
class _Payments:
    """What is drawn of each payment; the other columns follow from the order in time."""

    seconds: Array  # since the first midnight
    amounts: Array
    shops: Array
    distances_km: Array
    abroad: Array
    present: Array

    def __add__(self, other: "_Payments") -> "_Payments":
        mine, theirs = vars(self).values(), vars(other).values()
        return _Payments(*(np.concatenate(pair) for pair in zip(mine, theirs, strict=True)))


def payments(seed: int = 0) -> LabelledRows:
    """About 33,000 rows, about 0.7 % of them fraud; the same for the same seed."""
    rng = np.random.default_rng(seed)
    holders = [_holder(rng) for _ in range(CARDHOLDERS)]
    visited = rng.choice(CARDHOLDERS, VISITS, replace=False)
    tables, labels = [], []
    for place, holder in enumerate(holders):
        honest = _honest(rng, holder)
        fraud = _fraud(rng, holder) if place in visited else None
        every = honest + fraud if fraud else honest
        order = np.argsort(every.seconds, kind="stable")
        tables.append(_columns(every, order))
        labels.append(order >= len(honest.seconds))
    values = np.concatenate(tables).astype(np.float32)
    return LabelledRows(COLUMNS, values, np.concatenate(labels), SOURCE, LICENSE)


def _holder(rng: np.random.Generator) -> _Holder:
    start = rng.uniform(0, DAYS)
    travels = rng.random() < 0.25
    return _Holder(
        wealth=float(rng.lognormal(0, 0.5)),
        shares=rng.dirichlet(SHARES * 12 + 0.05),
        noon=float(rng.normal(14.5, 1.5)),
        waking_h=float(rng.uniform(2.5, 4.5)),
        reach_km=float(rng.lognormal(1.6, 0.7)),
        per_day=float(rng.gamma(4, 1.66 / 4)),
        journey=(start, start + (rng.uniform(3, 12) if travels else 0)),
    )


def _honest(rng: np.random.Generator, holder: _Holder) -> _Payments:
    count = max(5, int(rng.poisson(holder.per_day * DAYS)))
    days = rng.integers(0, DAYS, count)
    hours = rng.normal(holder.noon, holder.waking_h, count)
    out = rng.random(count) < 0.02  # a night spent out
    hours = np.where(out, rng.normal(25, 1.5, count), hours)
    shops = rng.choice(len(SHOPS), count, p=holder.shares)
    amounts = holder.wealth * PRICES[shops] * rng.lognormal(0, 0.6, count)
    amounts = np.where(rng.random(count) < 0.015, amounts * rng.uniform(3, 12, count), amounts)
    abroad = (days >= holder.journey[0]) & (days < holder.journey[1])
    present = rng.random(count) >= ON_INTERNET[shops]
    abroad = abroad | (~present & (rng.random(count) < 0.12))  # a foreign shop's page
    distances = holder.reach_km * rng.lognormal(0, 0.9, count)
    distances = np.where(rng.random(count) < 0.03, rng.uniform(50, 600, count), distances)
    distances = np.where(abroad & present, rng.uniform(300, 6000, count), distances)
    once = _Payments((days * 24 + hours) * 3600, amounts, shops, distances, abroad, present)
    return once + _again(rng, once)


def _again(rng: np.random.Generator, once: _Payments) -> _Payments:
    """Some payments have others soon after them: the next shop in the street, the next level."""
    follows = np.flatnonzero(rng.random(len(once.seconds)) < 0.05)
    follows = np.repeat(follows, rng.integers(1, 4, len(follows)))
    part = _Payments(*(column[follows] for column in vars(once).values()))
    seconds = part.seconds + rng.exponential(900, len(follows))
    amounts = part.amounts * rng.lognormal(-0.3, 0.6, len(follows))
    return _Payments(seconds, amounts, part.shops, part.distances_km, part.abroad, part.present)


def _fraud(rng: np.random.Generator, holder: _Holder) -> _Payments:
    kind = rng.choice(["testing", "takeover", "excess", "stolen"], p=[0.25, 0.25, 0.3, 0.2])
    count = 1 if kind == "excess" else int(rng.integers(2, 7))
    pause_s = {"testing": 240, "takeover": 1500, "excess": 0, "stolen": 2400}[kind]
    hour = rng.normal(27, 1.8) if kind == "takeover" else rng.normal(holder.noon, 5)
    start = (rng.integers(2, DAYS) * 24 + hour) * 3600
    seconds = start + np.cumsum(rng.exponential(pause_s, count))
    goods = {
        "testing": ["online_services", "entertainment", "gift_cards"],
        "takeover": ["electronics", "gift_cards", "travel", "clothing", "online_services"],
        "stolen": ["cash", "electronics", "fuel", "clothing", "groceries", "gift_cards"],
    }
    if kind == "excess":
        shops = rng.choice(len(SHOPS), count, p=holder.shares)
    else:
        shops = np.array([SHOPS.index(word) for word in rng.choice(goods[kind], count)])
    usual = holder.wealth * PRICES[shops] * rng.lognormal(0, 0.6, count)
    amounts = {
        "testing": rng.lognormal(0.7, 0.8, count),
        "takeover": usual * rng.uniform(1, 5, count),
        "excess": usual * rng.uniform(4, 15, count),
        "stolen": usual * rng.uniform(1, 4, count),
    }[kind]
    on_internet = {"testing": 1, "takeover": 0.9, "excess": 0.5, "stolen": 0}[kind]
    present = rng.random(count) >= on_internet
    strange_land = {"testing": 0.4, "takeover": 0.5, "excess": 0.2, "stolen": 0.05}[kind]
    abroad = rng.random(count) < strange_land
    distances = holder.reach_km * rng.lognormal(0.5, 1.0, count)
    distances = np.where(abroad & present, rng.uniform(300, 6000, count), distances)
    return _Payments(seconds, amounts, shops, distances, abroad, present)


def _columns(every: _Payments, order: Array) -> Array:
    """In the order of time → ``[N, COLUMNS]``"""
    seconds, amounts = every.seconds[order], every.amounts[order].round(2).clip(0.5)
    before = [float(np.median(amounts[:place])) for place in range(1, len(amounts))]
    since = np.diff(seconds, prepend=seconds[0] - DAY_S)
    last_day = np.arange(len(seconds)) - np.searchsorted(seconds, seconds - DAY_S)
    return np.stack(
        [
            amounts,
            (amounts / np.array([amounts[0], *before])).round(2),
            every.shops[order],
            (seconds / 3600 % 24).round(2) % 24,
            seconds // DAY_S % 7,
            every.distances_km[order].round(1),
            since.round(),
            last_day,
            every.abroad[order],
            every.present[order],
        ],
        axis=1,
    )
