"""The planner's data: words of English (`lexicon.toml`) and the numbers that it decides with (`weights.toml`).

Both files lie beside this module, are read once, when they are first needed, and are checked against the classes here.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

FOLDER = Path(__file__).parent

WordList = Annotated[str, Meta(min_length=1)]
"""Words separated by white space."""
Phrases = Annotated[tuple[WordList, ...], Meta(min_length=1)]
WordTable = Annotated[dict[WordList, WordList], Meta(min_length=1)]
Weight = Annotated[float, Meta(ge=0.0, le=2.0)]

Data = TypeVar("Data", bound=Struct)


class PlannerDataError(ValueError):
    """A data file of the planner is missing, is not TOML, or does not hold what the planner reads from it."""


class _Data(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of one of the files. What each entry is for stands in the file."""


class Words(_Data, frozen=True):
    stop: WordList
    measuring: WordList
    families: Phrases
    irregular: WordTable


class Adjectives(_Data, frozen=True):
    from_words: Phrases
    to_words: Phrases
    persons: WordList
    roles: WordList
    columns: WordTable
    several_states: WordTable


class Events(_Data, frozen=True):
    beginnings: WordList
    endings: WordList
    fields: WordTable


class Fields(_Data, frozen=True):
    money: WordList
    salient: Phrases
    units: WordList
    trouble: WordList


class Names(_Data, frozen=True):
    lead: WordList
    people: WordList
    calendar: WordList
    acronyms: WordList
    introducing: WordList


class Questions(_Data, frozen=True):
    asking: WordList
    ordering: WordList
    acting: WordList
    verbs: WordList
    going: WordList
    leaving: WordList
    extremes: Phrases
    most: Phrases
    least: Phrases
    newest: Phrases
    oldest: Phrases
    numbers: WordList


class ToolWords(_Data, frozen=True):
    read: WordList
    write: WordList
    destroy: WordList
    metrics: WordList
    ids: WordList
    texts: WordList
    named: WordList


class Searching(_Data, frozen=True):
    not_searched: WordList
    question_words: WordList
    not_subject: WordList


class Places(_Data, frozen=True):
    timezones: WordTable
    countries: WordTable


class Lexicon(_Data, frozen=True):
    """`lexicon.toml`."""

    words: Words
    adjectives: Adjectives
    events: Events
    fields: Fields
    names: Names
    questions: Questions
    tools: ToolWords
    searching: Searching
    places: Places


class LikenessWeights(_Data, frozen=True):
    abbreviation: Weight
    short_abbreviation: Weight
    skeleton: Weight
    close: Weight
    related: Weight


class RelevanceWeights(_Data, frozen=True):
    name: Weight
    title: Weight
    server: Weight
    description: Weight
    returns: Weight
    parameters: Weight
    meaning: Annotated[float, Meta(ge=0.0, le=1.0)]
    unknown_word: Weight


class RankingWeights(_Data, frozen=True):
    floor: Weight
    first_look: Weight
    near_best: Weight
    acts_malus: Weight
    subject_bonus: Weight
    subject_malus: Weight
    loose_subject: Weight
    exact_bonus: Weight
    exact_most: Weight
    group_bonus: Weight
    group_unused_malus: Weight
    no_group_malus: Weight
    count_bonus: Weight
    count_malus: Weight
    id_malus: Weight
    missing_malus: Weight
    strange_malus: Weight
    strange_most: Weight
    kind_bonus: Weight
    kind_counted_bonus: Weight
    top_malus: Weight


class ProducerWeights(_Data, frozen=True):
    declares_own: Weight
    about_with_id: Weight
    about: Weight
    declares: Weight
    exact_bonus: Weight
    named_bonus: Weight
    search_bonus: Weight


class ArgumentWeights(_Data, frozen=True):
    choice_by_words: Weight


class LinkWeights(_Data, frozen=True):
    owned_id: Weight
    focus_bonus: Weight
    tie: Weight


class ColumnWeights(_Data, frozen=True):
    base: Weight
    each_word: Weight
    last_word: Weight
    unsaid_unit: Weight
    named: Weight
    grouped: Weight
    measured: Weight
    measured_surely: Weight
    mentioned: Weight
    person: Weight
    tie: Weight


class TableWeights(_Data, frozen=True):
    name_word: Weight
    column_word: Weight
    own_name: Weight
    counted_elsewhere: Weight
    all_explained: Weight


class PassageWeights(_Data, frozen=True):
    title_or_heading: Weight
    nothing_said: Weight
    figure: Weight
    quoted: Weight
    share: Weight
    second_lead: Weight


class Weights(_Data, frozen=True):
    """`weights.toml`."""

    likeness: LikenessWeights
    relevance: RelevanceWeights
    ranking: RankingWeights
    producers: ProducerWeights
    arguments: ArgumentWeights
    links: LinkWeights
    columns: ColumnWeights
    tables: TableWeights
    passages: PassageWeights


@functools.cache
def lexicon() -> Lexicon:
    """The words.

    Raises:
        PlannerDataError: the file cannot be used; says where and why.
    """
    return read_data(FOLDER / "lexicon.toml", Lexicon)


@functools.cache
def weights() -> Weights:
    """The numbers.

    Raises:
        PlannerDataError: the file cannot be used; says where and why.
    """
    return read_data(FOLDER / "weights.toml", Weights)


def read_data(path: Path, kind: type[Data]) -> Data:
    """Read and check one file.

    Raises:
        PlannerDataError: the file cannot be used; says where and why.
    """
    try:
        content: Mapping[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(content, kind)
    except OSError as e:
        raise PlannerDataError(f"{path} cannot be read ({e}). It is part of the package: install it again.") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as e:
        raise PlannerDataError(f"{path} is not a valid {kind.__name__.lower()} file: {e}. Fix that entry.") from e
