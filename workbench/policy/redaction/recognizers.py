"""Personal data in free text: Presidio's pattern recognisers, loaded in the background and shared by the process.

No language model and no download: patterns and checksums only. Importing Presidio takes
about a second, so it happens in a thread; `ready` says whether it is done.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from workbench.scanning import PIECE, OverBudgetError, ScanBudget, first

MIN_SCORE = 0.3
"""Below it, Presidio takes nearly every number of nine digits for a social security number."""
WINDOW = 4096
"""Characters looked at in one go."""
LEAD = 64
"""Characters before a window that are looked at again, for what may not stand before personal data."""
TRAIL = 512
"""Characters beyond a window in which what began in it may end; no recogniser finds anything as long."""

TYPES = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "US_SSN": "SSN",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
}

CANDIDATE = re.compile(
    r"""[@:\d{\[](?:                     # a class first: the search skips to these characters at the speed of memchr
        (?<=[^\s@]@)[^\s@]             # something at something
      | (?<=\d)[\d\s().\-/]{6,}\d      # eight digits or more, however they are grouped
      | (?<=\d)\d\d[\s\-.]\d{4}        # a short telephone number
      | (?<=[A-Za-z]{2}\d)\d\s?[A-Za-z0-9]{4}   # an account number
      | (?<=\d)\.\d{1,3}\.\d           # four numbers with dots
      | (?<=[0-9a-fA-F]:)[0-9a-fA-F:]{3}  # hexadecimal groups with colons
      | (?<=:):[0-9a-fA-F]
      | (?<=[{\[])\s*["{\[]           # perhaps JSON, which has columns of its own
    )""",
    re.VERBOSE,
)
"""What a text must contain to be worth a closer look. Wider than the recognisers: it hides nothing from them."""

PATTERN_TIMEOUT_S = 1.0
"""Seconds that one pattern may take for one window."""

_CUT = re.compile(r"(?<=[^\W\d_])\s+(?=[^\W\d_])|\n+|[,;]\s*")
"""Where a text may be cut into windows: in hardly anything that a recogniser finds."""

_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")
_UNSPECIFIED = ipaddress.IPv4Network("0.0.0.0/8")

_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\Z")


class Span(NamedTuple):
    """A piece of personal data in a text."""

    start: int
    end: int
    type: str


def candidate(text: str, budget: ScanBudget | None = None) -> bool:
    """Whether `CANDIDATE` is in a text."""
    return CANDIDATE.search(text) is not None if len(text) <= PIECE else first(CANDIDATE, text, budget) is not None


def suspicious(text: str, budget: ScanBudget | None = None) -> bool:
    """Whether the text may hold personal data; a date or a time alone does not."""
    return candidate(text, budget) and _ISO_TIME.match(text) is None


class Recognisers:
    """The engines for results (strict) and for the record (lenient)."""

    def __init__(self) -> None:
        self._strict: list[tuple[str, Any]] = []
        self._lenient: list[tuple[str, Any]] = []
        self._loading: threading.Thread | None = None
        self._lock = threading.Lock()
        self.problem = ""
        """Why they could not be loaded; suspicious text is withheld whole as long as this lasts."""

    @property
    def ready(self) -> bool:
        """Whether texts can be looked at."""
        return bool(self._lenient)

    def warm(self) -> threading.Thread:
        """Start loading, once per process; the thread may be joined."""
        with self._lock:
            if self._loading is None:
                self._loading = threading.Thread(target=self._load, name="recognisers", daemon=True)
                self._loading.start()
            return self._loading

    def find(self, text: str, *, lenient: bool, budget: ScanBudget | None = None) -> list[Span]:
        """Where personal data stands in `text`, in order and without overlap.

        Args:
            lenient: rather a false alarm than a miss.
            budget: of the pass that the text is part of.

        Raises:
            RuntimeError: not loaded.
            OverBudgetError: the text could not be searched to its end.
        """
        engines = self._lenient if lenient else self._strict
        if not engines:
            raise RuntimeError("the recognisers are not loaded yet")
        found: list[Span] = []
        for start, stop, sure in windows(text):
            if budget is not None:
                budget.step()
            at = max(start - LEAD, 0)
            piece = text[at : stop + TRAIL] if stop - start < len(text) else text
            least = start if sure else at
            for entity, recogniser in engines:
                if _TRIGGER[entity].search(piece):
                    found += (
                        Span(at + begin, at + end, TYPES[entity])
                        for begin, end in _recognised(recogniser, piece)
                        if at + begin >= least
                    )
        return _merged(found) if len(found) > 1 else found

    def _load(self) -> None:
        try:
            strict, lenient = _engines(lenient=False), _engines(lenient=True)
        except Exception as e:  # noqa: BLE001 - without recognisers everything suspicious stays withheld
            self.problem = f"The recognisers of personal data cannot be loaded ({type(e).__name__}: {e})."
            return
        self._strict, self._lenient = strict, lenient


def _recognised(recogniser: Any, piece: str) -> Iterator[tuple[int, int]]:
    """What `PatternRecognizer.analyze` gives, without the objects that explain each result: they cost most of its time.

    Raises:
        OverBudgetError: a pattern took too long; Presidio would go on without it.
    """
    if type(recogniser).__name__ == "IbanRecognizer":  # it has a way of its own to end a number
        for found in recogniser.analyze(piece, recogniser.supported_entities, None):
            if found.score >= MIN_SCORE:
                yield found.start, found.end
        return
    for pattern in recogniser.patterns:
        try:
            for match in pattern.compiled_regex.finditer(piece, timeout=PATTERN_TIMEOUT_S):
                text = match.group()
                valid = recogniser.validate_result(text)
                likely = valid is True or (valid is None and pattern.score >= MIN_SCORE)
                if text and likely and not recogniser.invalidate_result(text):
                    yield match.span()
        except TimeoutError as e:
            raise OverBudgetError from e


def windows(text: str) -> Iterator[tuple[int, int, bool]]:
    """Start and end of each window of a text, and whether it begins where no personal data is cut in two.

    Where a text gives no such place, what is found shortly before the window counts too: rather twice than not at all.
    """
    start, sure = 0, True
    while True:
        end = start + WINDOW
        if end >= len(text):
            yield start, len(text), sure
            return
        cut = 0
        for found in _CUT.finditer(text, end - WINDOW // 4, end):
            cut = found.end()
        yield start, cut or end, sure
        start, sure = cut or end, cut > 0


_TRIGGER = {
    "EMAIL_ADDRESS": re.compile("@"),
    "PHONE_NUMBER": re.compile(r"\d[\d\s().\-/]*\d[\d\s().\-/]*\d"),
    "US_SSN": re.compile(r"\d{3}"),
    "CREDIT_CARD": re.compile(r"\d{3}[\d\- ]"),
    "IBAN_CODE": re.compile(r"[A-Za-z]{2}\d\d"),
    "IP_ADDRESS": re.compile(r"\d\.\d{1,3}\.\d|:[0-9a-fA-F]*:|::"),
}
"""A text without it cannot hold that kind; asking the recogniser would be a waste."""


def _merged(found: list[Span]) -> list[Span]:
    """Overlapping spans as one, named after the longest."""
    found.sort(key=lambda s: (s.start, -s.end))
    merged = [found[0]]
    for span in found[1:]:
        last = merged[-1]
        if span.start >= last.end:
            merged.append(span)
        elif span.end > last.end:
            longer = span if span.end - span.start > last.end - last.start else last
            merged[-1] = Span(last.start, span.end, longer.type)
    return merged


@functools.cache
def shared() -> Recognisers:
    """The recognisers of this process."""
    return Recognisers()


def _engines(*, lenient: bool) -> list[tuple[str, Any]]:
    """Presidio's pattern recognisers, one for each type that `TYPES` names.

    They are asked directly: `AnalyzerEngine` adds context words, which need a language model, and doubles the cost.
    """
    # Presidio's recognisers log the text that they could not parse
    logging.getLogger("presidio-analyzer").setLevel(logging.CRITICAL)
    from presidio_analyzer import Pattern
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        IbanRecognizer,
        IpRecognizer,
        UsSsnRecognizer,
    )

    class Email(EmailRecognizer):
        """The stock recogniser takes only public top-level domains, and asks the network which these are."""

        def validate_result(self, pattern_text: str) -> bool:
            return True

    class Ssn(UsSsnRecognizer):
        """The stock recogniser passes well-known sample numbers; grouped like a number, it is one to us."""

        def invalidate_result(self, pattern_text: str) -> bool:
            if re.fullmatch(r"\d{3}([- ])\d{2}\1\d{4}", pattern_text):
                return False
            return bool(super().invalidate_result(pattern_text))

    class Card(CreditCardRecognizer):
        """The stock recogniser knows neither the Mastercards that begin with 2 nor cards of fifteen digits by JCB."""

        PATTERNS = [  # noqa: RUF012 - as in the class that it extends
            *CreditCardRecognizer.PATTERNS,
            Pattern(
                "further cards",
                r"\b(?:(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)(?:[- ]?\d{4}){3}"
                r"|(?:2131|1800)[- ]?\d{6}[- ]?\d{5})\b",
                0.3,
            ),
        ]

    class Ip(IpRecognizer):
        """The stock recogniser takes the addresses of the machine itself, which are nobody's."""

        def invalidate_result(self, pattern_text: str) -> bool:
            return bool(super().invalidate_result(pattern_text)) or _of_this_machine(pattern_text)

    engines = [
        Email(),
        Ssn(),
        _phone_recogniser(lenient),
        Card(),
        IbanRecognizer(),
        Ip(),
    ]
    for engine in engines:
        engine.analyze("", engine.supported_entities, None)  # compiles its patterns
    return [(engine.supported_entities[0], engine) for engine in engines]


def _of_this_machine(text: str) -> bool:
    """Whether an address is a loopback or the unspecified one (RFC 1122 §3.2.1.3, RFC 4291 §2.5.2 and §2.5.3).

    `::1:5432` is how Node.js writes port 5432 of `::1`; read as an address it is in a block where nobody has one.
    """
    address = ipaddress.ip_interface(text).ip
    if address.version == 6 and int(address) >> 32 in (0, 0xFFFF):  # carries an IPv4 address
        address = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    elif address.version == 6:
        return False
    return address in _LOOPBACK or address in _UNSPECIFIED


def _phone_recogniser(lenient: bool) -> Any:
    import phonenumbers
    from presidio_analyzer import Pattern, PatternRecognizer

    regions = ("US", "GB", "DE", "FR", "IN", "BR", "CA", "AU", "ES", "IT", "NL", "CH")
    looks_like_date = re.compile(r"\d{4}-\d\d-\d\d|\d\d?[/.]\d\d?[/.]\d{4}")
    decimal = re.compile(r"\d{1,3}\.\d{4,}")

    class Phone(PatternRecognizer):
        """Numbers that are grouped as people write them; Presidio's own scan costs 4 ms a kilobyte and takes ids."""

        def validate_result(self, pattern_text: str) -> bool:
            bare = pattern_text.lstrip("(")
            if looks_like_date.match(bare) or decimal.match(bare):
                return False
            digits = sum(c.isdigit() for c in pattern_text.partition("x")[0])
            if pattern_text.startswith(("+", "00")):
                return self._possible("+" + pattern_text.removeprefix("00").removeprefix("+"))
            if lenient:
                return 7 <= digits <= 15
            return 9 <= digits <= 11 and any(self._valid(pattern_text, region) for region in regions)

        @staticmethod
        def _possible(text: str) -> bool:
            try:
                return bool(phonenumbers.is_possible_number(phonenumbers.parse(text, None))) or lenient
            except phonenumbers.NumberParseException:
                return lenient

        @staticmethod
        def _valid(text: str, region: str) -> bool:
            try:
                return bool(phonenumbers.is_valid_number(phonenumbers.parse(text, region)))
            except phonenumbers.NumberParseException:
                return False

    patterns = [
        Pattern("international", r"(?<![\w+])\+\d[\d\s().\-/]{6,18}\d(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?!\w)", 0.6),
        Pattern(
            "national",
            r"(?<![\w.+/-])\(?\d{2,5}\)?[\s.\-/]{1,2}\(?\d{2,5}\)?[\s.\-]?\d{2,5}(?:[\s.\-]?\d{1,5})?"
            r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?!\w)",
            0.4,
        ),
        Pattern(
            "area code in brackets",
            r"(?<![\w.+/-])\(\d{2,5}\)\d{3,4}[\s.\-]?\d{3,4}(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?!\w)",
            0.4,
        ),
        Pattern("pairs", r"(?<![\w.+/-])0\d(?:[\s.\-]\d\d){4}(?!\w)", 0.4),
        Pattern("00 for abroad", r"(?<![\w.+/-])00\s?[1-9]\d{0,2}(?:[\s.\-/]\d{2,4}){2,5}(?!\w)", 0.4),
    ]
    if lenient:
        patterns.append(Pattern("short", r"(?<![\w.+/-])\d{3}[\s.\-]\d{4}(?!\w)", 0.4))
    return Phone(supported_entity="PHONE_NUMBER", patterns=patterns)
