"""Words as the planner compares them: split, stemmed, and put into families of meaning.

Nothing here knows a server or a tool. The families are ordinary English of offices and tables; a word outside them is
compared by its stem, by abbreviation (`dep` for `departure`) and, one level up, by embedding.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable


def listed(text: str) -> list[str]:
    """The words of a text, one list entry each: how long lists of words are written here."""
    return text.split()


STOP = frozenset(
    listed("""
        a an the of to in on at for from by with and or but as is are was were be been being am do does did done
        has have had having can could will would shall should may might must i me my mine we us our ours you
        your yours he him his she her hers it its they them their theirs this that these those there here who
        whom whose what which when where why how please tell show give let lets say says said look looks looking
        like about into onto than then so if any some all each every both few more most other such only own same
        too very just also not no nor up out off over under again once get got gets find list display me know
        want need currently now ever yet still many much per via using use used named called name's else s t re
        ve ll exist exists happen happened happens kind sort know
    """)
)

MEASURING = frozenset(
    listed("""
        average mean avg total sum overall count median highest lowest most least largest smallest biggest
        longest shortest maximum minimum max min top bottom best worst latest earliest newest oldest recent
        first last fewest greatest number distinct unique different combined altogether many much typical
        popular common commonly frequent frequently often share percentage percent proportion fraction
        busiest hottest coldest cheapest fastest slowest rank ranked ranking sort sorted order ordered expensive
        table row rows tables dataset data record records entry entries
    """)
)
"""Words that say how to compute or sort, and nothing about what."""

_FAMILIES = """
customer client account
ticket issue case
invoice bill billing
payment pay paid transaction charge
subscription membership
product item goods
order purchase buy bought
assignee agent handler
meeting event appointment calendar
document article page doc guide
price cost priced
amount value sum_of_money
revenue sale turnover income sold sell
employee staff colleague worker
company organisation organization firm business
country nation
region area territory
state status condition
fail failed failure failing declined unsuccessful
open unresolved outstanding
close closed resolved solved
active live current
cancel cancelled canceled churned
create make add new
delete remove erase
modify change update edit
send mail
schedule book
begin start
end finish stop
late delay delayed
arrive arrival arr
depart departure dep left leave departing
origin source
destination dest target
carrier airline
plane aircraft tailnum
distance mile
temperature temp
manufacturer maker
folder directory
commit revision
branch head
log history record
quantity stock inventory
rating score
category type
priority urgency severity
refund reimbursement
renewal renew
timezone zone
""".strip().splitlines()

_IRREGULAR = {
    "paid": "pay",
    "sold": "sell",
    "left": "leave",
    "children": "child",
    "people": "person",
    "men": "man",
    "women": "woman",
    "data": "data",
    "statuses": "status",
    "addresses": "address",
    "indices": "index",
    "species": "species",
    "series": "series",
    "news": "news",
    "analyses": "analysis",
    "spent": "spend",
    "bought": "buy",
    "buyer": "customer",
    "made": "make",
    "sent": "send",
    "days": "day",
    "flew": "fly",
    "flown": "fly",
}


@functools.lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A light stem: plural, -ing and -ed removed; short words and words with digits stay as they are."""
    w = word.lower()
    if w in _IRREGULAR:
        return _IRREGULAR[w]
    if len(w) <= 3 or any(c.isdigit() for c in w):
        return w
    if w.endswith("ies") and len(w) > 4:
        return w[:-3] + "y"
    if w.endswith(("sses", "shes", "ches", "xes", "zes")):
        return w[:-2]
    if w.endswith("s") and not w.endswith(("ss", "us", "is")):
        w = w[:-1]
    for ending in ("ing", "ed"):
        base = w.removesuffix(ending)
        if base != w and len(base) >= 3 and re.search("[aeiouy]", base):
            if base[-1] == base[-2] and base[-1] not in "lsz":
                return base[:-1]
            return base
    return w.removesuffix("e") if len(w) > 4 and w.endswith("e") else w


def _families() -> dict[str, str]:
    family: dict[str, str] = {}
    for line in _FAMILIES:
        members = line.split()
        for member in members:
            family.setdefault(stem(member), stem(members[0]))
    return family


_FAMILY = _families()


@functools.lru_cache(maxsize=20_000)
def family(word: str) -> str:
    """The family a word belongs to, or its stem when it has none."""
    base = stem(word)
    return _FAMILY.get(base, base)


@functools.lru_cache(maxsize=5_000)
def split(text: str) -> tuple[str, ...]:
    """Lower-case words of text or of an identifier: `getCustomerByEmail`, `due-date` and `due_date` all come apart."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return tuple(w.lower() for w in re.findall(r"[^\W_]+", spaced))


@functools.lru_cache(maxsize=5_000)
def terms(text: str) -> tuple[str, ...]:
    """Families of the words that carry meaning, in order, without repeats."""
    return tuple(dict.fromkeys(family(w) for w in split(text) if w not in STOP and (len(w) > 1 or w.isdigit())))


@functools.lru_cache(maxsize=50_000)
def alike(a: str, b: str) -> float:
    """How surely two words mean the same: 1 for one family, less for an abbreviation, 0 for strangers.

    Args:
        a: a word of the question.
        b: a word of a schema, which may be an abbreviation of `a` (`dep_delay`, `qty`, `amt`).
    """
    fa, fb = family(a), family(b)
    if fa == fb:
        return 1.0
    x, y = a.lower(), b.lower()
    if len(x) < len(y):
        x, y = y, x
    if len(y) >= 3 and x.startswith(y):
        return 0.85 if len(x) - len(y) <= 3 or len(y) >= 4 else 0.7
    skeleton = x[0] + re.sub("[aeiou]", "", x[1:])
    if len(y) >= 3 and skeleton.startswith(y):
        return 0.7
    return 0.0


def overlap(wanted: Iterable[str], offered: Iterable[str]) -> float:
    """The share of `wanted` words that some `offered` word means; 0 when nothing is wanted."""
    asked = list(wanted)
    pool = list(offered)
    if not asked:
        return 0.0
    return sum(max((alike(w, o) for o in pool), default=0.0) for w in asked) / len(asked)
