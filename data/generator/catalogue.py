"""What is sold: instruments of a dozen families, in stock in three warehouses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from data.generator.timeline import AS_OF, START, drawn

FAMILIES: tuple[tuple[str, str, float, str], ...] = (
    ("Temperature sensor", "sensors", 84, "Measures air, liquid or surface temperature"),
    ("Humidity sensor", "sensors", 96, "Measures relative humidity and dew point"),
    ("Pressure sensor", "sensors", 138, "Measures gauge or absolute pressure in pipes and vessels"),
    ("CO2 monitor", "monitors", 219, "Measures carbon dioxide in rooms and fermenters"),
    ("Vibration sensor", "sensors", 265, "Listens to bearings and motors for early signs of wear"),
    ("Flow meter", "meters", 430, "Measures the flow of water and clean liquids by ultrasound"),
    ("Energy meter", "meters", 310, "Measures three-phase current, power and energy"),
    ("Data logger", "loggers", 355, "Records up to sixteen channels and forwards them to Larkfield Cloud"),
    ("Gateway", "gateways", 520, "Collects wireless sensors and sends their readings to Larkfield Cloud"),
    ("Probe", "accessories", 42, "Replacement probe with a stainless sheath"),
    ("Mounting kit", "accessories", 19, "Brackets, straps and a sealed gland"),
    ("Calibration kit", "services", 175, "Reference standard with a traceable certificate"),
)
SERIES = ("Fern", "Heron", "Otter", "Swift", "Alder", "Tarn")
GRADES = (("Basic", 0.8), ("Standard", 1.0), ("Pro", 1.55), ("Marine", 1.9))
WAREHOUSES = ("Memphis", "Rotterdam", "Singapore")

Row = dict[str, Any]


def build() -> tuple[list[Row], list[Row]]:
    """The products and what of them lies in each warehouse."""
    rng = drawn("catalogue")
    products: list[Row] = []
    for family, category, base, does in FAMILIES:
        for series in SERIES:
            for grade, factor in GRADES:
                if rng.random() < 0.12:
                    continue
                price = round(base * factor * rng.lognormvariate(0, 0.16), 0) - 0.05
                launched = START - timedelta(days=int(rng.triangular(-600, 2200, 500)))
                products.append(
                    {
                        "product_id": "",
                        "sku": f"{family[:2].upper()}-{series[:3].upper()}-{grade[0]}{rng.randrange(10, 99)}",
                        "name": f"{series} {family} {grade}",
                        "category": category,
                        "family": family,
                        "description": f"{does}. {series} series, {grade.lower()} grade, {_detail(rng, grade)}.",
                        "price": price,
                        "cost": round(price * rng.uniform(0.38, 0.61), 2),
                        "currency": "USD",
                        "launched_on": launched,
                        "status": "discontinued" if launched < START - timedelta(days=1750) else "active",
                    }
                )
    products.sort(key=lambda p: p["launched_on"])
    for n, product in enumerate(products, 1):
        product["product_id"] = f"P-{n:04d}"
    stock = [_stock(rng, p, w) for p in products for w in WAREHOUSES if rng.random() < 0.86]
    return products, stock


def _detail(rng: Any, grade: str) -> str:
    protection = {"Basic": "IP54", "Standard": "IP65", "Pro": "IP67", "Marine": "IP68"}[grade]
    return f"{protection}, battery life {rng.choice((2, 3, 5, 8))} years, range {rng.choice((50, 120, 300, 800))} m"


def _stock(rng: Any, product: Row, warehouse: str) -> Row:
    """Discontinued products run out; about one shelf in twelve is empty."""
    reorder = rng.choice((5, 10, 20, 40))
    on_hand = 0 if rng.random() < 0.08 else int(rng.lognormvariate(3.6, 0.9))
    if product["status"] == "discontinued":
        on_hand //= 6
    return {
        "product_id": product["product_id"],
        "warehouse": warehouse,
        "on_hand": on_hand,
        "reserved": min(on_hand, int(rng.expovariate(0.25))),
        "reorder_point": reorder,
        "next_delivery_on": AS_OF + timedelta(days=rng.randrange(3, 45)) if on_hand < reorder else None,
    }
