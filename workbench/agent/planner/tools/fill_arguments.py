"""Arguments for a tool from what the question names, what the schema allows, and what came back before.

A required value that cannot be found is reported as missing; none is ever invented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.agent.planner.language.adjectives import UNSETTLED
from workbench.agent.planner.language.entities import Entity
from workbench.agent.planner.language.lexicon import STOP, alike, close, family, listed, split, terms
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion
from workbench.agent.planner.planner_data import lexicon, weights
from workbench.agent.planner.tools.argument_values import PLAIN_ROLES, ArgumentValues, FilledArguments, fits_pattern
from workbench.agent.planner.tools.tool_profile import Parameter, Role, ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall, linked

_NOT_SEARCHED = frozenset(listed(lexicon().searching.not_searched))


PROSE = re.compile(r"\b(?:documents?|articles?|semantic|natural language|knowledge|passages?|meaning)\b", re.I)
"""A description of a search over texts: the query may be a whole phrase."""


class ArgumentFiller:
    """Fills one tool for one need."""

    def __init__(self, shape: ToolProfile, need: Need, question: ParsedQuestion, steps: Sequence[FinishedCall]) -> None:
        self.shape, self.need, self.question, self.steps = shape, need, question, steps
        self.values = ArgumentValues(shape, need, question, steps)
        self.out = self.values.out

    def fill(self) -> FilledArguments:
        """Required parameters first; among them the exacting roles before free text, which takes what is left."""
        late = ("query", "text", "other", "name")
        order = sorted(
            self.shape.parameters, key=lambda p: (p.role == "limit", p.role in late, not p.required, p.role == "query")
        )
        for parameter in order:
            value = self.value(parameter)
            if value is not None:
                self.out.arguments[parameter.name] = (
                    [value] if parameter.type == "array" and not isinstance(value, list) else value
                )
            elif parameter.required and "default" not in parameter.schema:
                self.out.missing.append(parameter)
        return self.out

    def value(self, p: Parameter) -> Any:
        """The next value for one parameter, taken from what is left; None when there is none."""
        if p.role in PLAIN_ROLES:
            value = PLAIN_ROLES[p.role](self.values, p)
        elif p.role in MATCHED_ROLES:
            value = MATCHED_ROLES[p.role](self, p)
        else:
            return None
        return None if value is None else self.values.typed(value, p)

    # --- one method for each role that is matched against the tool

    def id(self, p: Parameter) -> Any:
        concept = p.concept or self.shape.nouns
        for entity in list(self.values.spare):
            if entity.kind in ("id", "uuid", "quoted", "number", "code") and self._identifies(entity, p, concept):
                return self.values.take(entity)
        focus = [
            e.value for e in (*self.need.about, *self.question.entities) if e.kind not in ("number", "money", "time")
        ]
        mentioned = p.required or any(alike(w, c) >= 1 for w in self.need.words for c in concept)
        earlier = [s for s in self.steps if s.shape is not self.shape]
        found = linked(earlier, concept, p.name, focus, "integer" if p.type == "integer" else "", not mentioned)
        if not found:
            return None
        self.out.linked = True
        if p.type == "array":
            return found[:20]
        if len(found) > 1:
            self.out.others[p.name] = found[1:5]
        return found[0]

    def _identifies(self, entity: Entity, p: Parameter, concept: tuple[str, ...]) -> bool:
        pattern = p.schema.get("pattern")
        if isinstance(pattern, str):
            return fits_pattern(pattern, entity.value)
        said = bool(entity.before) and any(alike(c, entity.before) >= 1 for c in concept)
        if entity.kind == "number":
            return said or (
                p.required and p.type in ("integer", "number") and not entity.comparison and not entity.before
            )
        if entity.kind == "quoted":
            return said and " " not in entity.value
        shown = [str(x) for x in (*_examples(p), p.description) if x]
        prefix = re.match(r"[A-Za-z]+", entity.value)
        if prefix and any(re.search(rf"\b{re.escape(prefix.group())}[-_]?\d", text, re.I) for text in shown):
            return True
        if any(re.search(r"\b[A-Z]{1,6}[-_]?\d", text) for text in shown):
            return False
        if said:
            return True
        if entity.kind == "code":
            return False
        like = prefix and any(alike(c, prefix.group()) > 0 or c[0] == prefix.group()[0].lower() for c in concept)
        return bool(like) or (p.required and len(self.shape.required) == 1 and entity.kind == "uuid")

    def query(self, p: Parameter) -> Any:
        strong = next((e for e in self.values.spare if e.kind in ("quoted", "email", "id", "uuid")), None)
        if strong:
            self.out.guessed |= strong.kind == "quoted"
            return self.values.take(strong)
        prose = PROSE.search(self.shape.tool.description + p.description)
        words = [w for w in self.need.words if w not in _NOT_SEARCHED] if prose else self._unexplained()
        name = next((e for e in self.values.spare if e.kind in ("name", "code")), None)
        if name and not (prose and words):
            self.out.guessed = True
            return self.values.take(name)
        if not words or (not p.required and not prose and self.need.analytic):
            return None
        self.out.guessed = True
        if prose:
            for entity in [e for e in self.values.spare if e.kind in ("name", "code")]:
                self.out.used.add(entity)
            return (
                " ".join(
                    w for w in re.findall(r"[\w'@.\-/]+", self.need.text) if w.lower() not in _QUESTION_WORDS
                ).strip(" .?")
                or None
            )
        return " ".join(words)

    def _unexplained(self) -> list[str]:
        """Words that neither the tool's nouns nor its parameters nor what it returns account for."""
        known = {*self.shape.nouns, *terms(self.shape.tool.server), *self.shape.verbs}
        known.update(
            t for p in self.shape.parameters for t in (*p.terms, *(x for c in p.choices for x in terms(str(c))))
        )
        known.update(t for key in self.shape.returns for t in terms(key))
        return [
            w
            for w in self.need.words
            if w not in _NOT_SEARCHED and not any(close(w, k) for k in known) and family(w) not in ("price", "state")
        ]

    def limit(self, p: Parameter) -> Any:
        ranks = "top" in split(self.shape.tool.name) or any(
            q.role == "order" and self.order(q) for q in self.shape.parameters
        )
        if self.need.top and (ranks or self.need.order in ("", "newest")):
            return self.values.capped(max(self.need.top, 1), p)
        most = p.schema.get("maximum")
        lost = [e for e in self.values.spare if e.kind in ("id", "uuid") or e.comparison]
        if (
            (self.need.analytic or self.need.order or lost or self.need.periods)
            and not PROSE.search(self.shape.tool.description)
            and isinstance(most, (int, float))
            and not ranks
            and not self.shape.takes("group")
        ):
            return most
        number = next(
            (
                e
                for e in self.values.spare
                if e.kind == "number" and e.before and any(alike(e.before, t) >= 1 for t in p.terms)
            ),
            None,
        )
        return self.values.capped(number.number or 1, p) if number else None

    def choice(self, p: Parameter) -> Any:
        text = " ".join(split(self.need.text))
        hits: list[tuple[float, Any]] = []
        for choice in p.choices:
            spelled = split(str(choice))
            if not spelled or not isinstance(choice, (str, int, float)):
                continue
            phrase = " ".join(spelled)
            if re.search(rf"\b{re.escape(phrase)}\b", text) and not (len(phrase) < 3 and not phrase.isdigit()):
                hits.append((1.0 + len(spelled), choice))
            elif all(
                any(alike(w, s) >= 1 and not (w.endswith("ed") and not s.endswith("ed")) for w in self.need.words)
                for s in spelled
            ):
                hits.append((weights().arguments.choice_by_words, choice))
        if not hits or (p.type != "array" and max(h[0] for h in hits) <= 1):
            several = self._states(p)
            if several:
                return several
        if not hits:
            return None
        top = max(h[0] for h in hits)
        chosen = (
            [c for score, c in hits if score >= weights().arguments.choice_by_words]
            if p.type == "array"
            else [c for score, c in hits if score == top]
        )
        if self._clashes(p, chosen[0]):
            return None
        for entity in list(self.values.spare):
            if any(str(c).lower() == entity.value.lower() for c in chosen):
                self.values.take(entity)
        return chosen if p.type == "array" else chosen[0]

    def _states(self, p: Parameter) -> Any:
        """All the choices that one word stands for (`unpaid`: open and overdue)."""
        meant = {s for w in self.need.words for s in UNSETTLED.get(w, "").split()}
        found = [c for c in p.choices if "_".join(split(str(c))) in meant]
        if not found or p.type == "array":
            return found or None
        if len(found) > 1:
            self.out.any_of[p.name] = found[1:]
        return found[0]

    def _clashes(self, p: Parameter, choice: Any) -> bool:
        """The word names the tool's own kind of thing rather than a value (`product` in a search for products)."""
        return not p.required and all(w in self.shape.nouns for w in terms(str(choice))) and bool(terms(str(choice)))

    def group(self, p: Parameter) -> Any:
        wanted = (*self.need.by, *self.need.which)
        # `products` are no `product_category`: the last word of a choice says what the groups are
        hits = [c for c in p.choices if any(close(w, s) for w in wanted for s in split(str(c))[-1:])]
        if hits:
            return hits[:2] if p.type == "array" else hits[0]
        return None

    def order(self, p: Parameter) -> Any:
        if not p.choices or not self.need.order:
            return None
        down = self.need.order in ("desc", "newest")
        directions = [
            c for c in p.choices if str(c).lower() in (("desc", "descending") if down else ("asc", "ascending"))
        ]
        if directions:
            return directions[0]
        hits = [c for c in p.choices if any(alike(w, s) >= 1 for w in self.need.words for s in split(str(c)))]
        return hits[0] if hits else None

    def metrics(self, p: Parameter) -> Any:
        hits = [c for c in p.choices if any(alike(w, s) >= 1 for w in self.need.words for s in split(str(c)))]
        return (hits[:1] if p.type == "array" else hits[0]) if hits else None

    def flag(self, p: Parameter) -> Any:
        wanted = [family(w) for w in split(p.name) if w not in ("include", "only", "is", "has", "show", "with", "in")]
        ok = wanted and all(any(alike(w, t) >= 1 for w in self.need.words) for t in wanted)
        if not ok or all(t in self.shape.nouns for t in wanted):
            return None
        phrase = [w for w in split(p.name) if w not in ("include", "only", "is", "has", "show", "with")]
        if len(phrase) > 1 and phrase[0] in STOP and " ".join(phrase) not in " ".join(split(self.need.text)):
            return None
        return not re.search(
            rf"\b(?:not|no|without|excluding|never)\s+(?:\w+\s+)?{re.escape(wanted[0][:4])}", self.need.text, re.I
        )

    def name(self, p: Parameter) -> Any:
        for entity in list(self.values.spare):
            if entity.kind in ("name", "quoted", "code") and (p.required or self._meant(entity, p)):
                self.out.guessed = True
                return self.values.take(entity)
        return self.values.named_link(p)

    def _meant(self, entity: Entity, p: Parameter) -> bool:
        if entity.before and any(alike(entity.before, t) >= 1 for t in p.terms):
            return True
        about = {*p.terms} - {"name"}
        person = about & {family(w) for w in ("person", "people", "user", "member", "attendee", "participant")}
        # `the customer John Smith` is not an attendee where the tool takes customers by a parameter of their own
        elsewhere = any(entity.before in q.concept for q in self.shape.takes("id"))
        if person and len(entity.value.split()) > 1 and not elsewhere:
            return True
        return (
            not about
            or bool(about & set(self.shape.nouns))
            or any(alike(t, w) >= 1 for t in about for w in self.need.words)
        )

    def collection(self, p: Parameter) -> Any:
        quoted = next((e for e in self.values.spare if e.kind == "quoted" and " " not in e.value), None)
        return self.values.take(quoted) if quoted else self.values.named_link(p)

    def other(self, p: Parameter) -> Any:
        if p.type not in ("string", ""):
            return None
        for entity in list(self.values.spare):
            if (
                entity.kind in ("quoted", "name", "code", "id")
                and entity.before
                and any(alike(entity.before, t) >= 1 for t in p.terms)
            ):
                return self.values.take(entity)
        listed = [
            w
            for w in self.need.words
            if len(w) > 3 and re.search(rf"[`'\"(,|/:]\s*{re.escape(w)}\b", p.description, re.I)
        ]
        if listed:
            return listed[0]
        if self.need.kind == "do" and p.required:
            return self.values.text(p)
        return self.values.named_link(p) if p.required else None


MATCHED_ROLES: Mapping[Role, Callable[[ArgumentFiller, Parameter], Any]] = {
    "id": ArgumentFiller.id,
    "query": ArgumentFiller.query,
    "limit": ArgumentFiller.limit,
    "choice": ArgumentFiller.choice,
    "group": ArgumentFiller.group,
    "order": ArgumentFiller.order,
    "metrics": ArgumentFiller.metrics,
    "flag": ArgumentFiller.flag,
    "name": ArgumentFiller.name,
    "collection": ArgumentFiller.collection,
    "other": ArgumentFiller.other,
}
"""How a parameter of a role that depends on the tool finds its value."""
UNFILLED_ROLES: frozenset[Role] = frozenset(("offset", "filters", "sql", "fields"))
"""Roles that no single value of a question fills: pages are read on, and queries are put by `tables`."""

_QUESTION_WORDS = frozenset(listed(lexicon().searching.question_words))


def _examples(p: Parameter) -> list[Any]:
    found = p.schema.get("examples")
    return found if isinstance(found, list) else []


def fill(shape: ToolProfile, need: Need, question: ParsedQuestion, steps: Sequence[FinishedCall]) -> FilledArguments:
    """Arguments for `shape` that answer `need`."""
    return ArgumentFiller(shape, need, question, steps).fill()
