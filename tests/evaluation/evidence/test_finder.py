"""A quote is found where it stands, whatever a model changed of its form; what isn't there isn't.

The measure is over 2,000 rows of real text: Python's manual, licences, descriptions of packages.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondine_nb.evaluation.evidence import MISSING, Finder
from ondine_nb.evaluation.evidence import finder as finding
from ondine_nb.evaluation.evidence.folding import folded
from ondine_nb.evaluation.evidence.guard import same_meaning
from tests.evaluation.evidence.quoting import QUOTES, quoted, real_texts, rows

ROWS = 2_000
TEXT = (
    "The fee of $1,250.50 is not refundable after 30 days. Invoices are  payable — within “ten” "
    "business days; see § 4.\n不可退款。 L'employé n'a pas payé la facture. The temperature "
    "fell to -5 degrees on Monday, and the lessee shall inform the lessor at once.\n"
    "X² and 10⁵ units."
)
WORDS = st.text("abc dÄéß不可 ..,-'’“”\n\t5½ﬁ\u00ad\u200b", min_size=1, max_size=60)


def match(quote: str, text: str = TEXT) -> str:
    return Finder({"text": text}).find(quote).match


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        ("verbatim", {"exact": 1.0}, {}),
        ("reformatted", {"exact near": 1.0}, {}),
        ("misspelt", {"exact near approximate": 0.96, "exact near": 0.4}, {}),
        ("invented", {}, {"exact near": 0.005, "approximate": 0.05}),
        ("turned", {"approximate missing": 0.99}, {"exact near": 0.01}),
    ],
)
@pytest.mark.slow
def test_quotes_of_real_text_are_told_apart(
    kind: str, least: dict[str, float], most: dict[str, float]
) -> None:
    found = Counter[str]()
    for text, dice in rows(ROWS):
        quote = quoted(text, kind, dice)
        if quote is not None:
            evidence = Finder({"text": text}).find(quote)
            found[evidence.match] += 1
            if evidence.text is not None:
                assert text[evidence.start : evidence.end] == evidence.text
    shares = {
        names: sum(found[name] for name in names.split()) / found.total()
        for names in {**least, **most}
    }
    assert all(shares[names] >= share for names, share in least.items()), found
    assert all(shares[names] <= share for names, share in most.items()), found
    assert found.total() > ROWS / 2


@given(WORDS, st.data())
def test_what_is_cut_out_of_a_text_is_found_as_it_stands(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    quote = text[start : data.draw(st.integers(start + 1, len(text)))]
    evidence = Finder({"text": text}).find(quote)
    if quote.strip():
        assert (evidence.match, evidence.text) == ("exact", quote.strip())
        assert evidence.start is not None
        assert text[evidence.start : evidence.end] == evidence.text
    else:
        assert evidence == MISSING


@given(WORDS, WORDS)
def test_a_span_is_always_that_of_the_text(text: str, quote: str) -> None:
    evidence = Finder({"text": text}).find(quote)
    assert evidence.match in finding.MATCHES
    if evidence != MISSING:
        assert text[evidence.start : evidence.end] == evidence.text
        assert evidence.text


@given(st.text(max_size=80))
def test_each_character_of_a_folded_text_comes_from_a_place_in_it(text: str) -> None:
    form = folded(text)
    assert len(form.text) == len(form.at)
    assert all(0 <= at < len(text) for at in form.at)
    assert list(form.at) == sorted(form.at)
    assert folded(form.text).text.strip() == form.text.strip() or not text.isascii()


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("The fee of $1,250.50 is not refundable", "exact"),
        ("the fee of $1250.50 is not  refundable after", "near"),
        ('Invoices are payable - within "ten" business days', "near"),
        ("Invoces are payable within ten busines days", "near"),
        ("**Invoices** are payable, within ten business days", "near"),
        ("n’a pas payé la facture", "near"),
        ("The fee of $1,250.50 is refundable after 30 days", "approximate"),
        ("The fee of $1,250.50 is not refundable after 80 days", "approximate"),
        ("The fee of €1,250.50 is not refundable after 30 days", "approximate"),
        ("The fee of $125,050 is not refundable after 30 days", "approximate"),
        ("L'employé a payé la facture", "approximate"),
        ("The temperature fell to 5 degrees on Monday", "approximate"),
        ("the lessor shall inform the lessor at once", "approximate"),
        ("The fee of $1,250.50 … after 30 days", "approximate"),  # a "not" is left out
        ("Invoices are payable ... business days", "near"),
        ("X2 and 105 units", "missing"),
        ("不可退款", "exact"),
        ("可以退款", "missing"),
        ("nothing like this is there at all", "missing"),
        ("", "missing"),
        ("…", "missing"),
        ("“”", "missing"),
    ],
)
def test_a_turned_meaning_is_no_quote(quote: str, expected: str) -> None:
    assert match(quote) == expected


def test_a_quote_is_looked_for_in_every_column_and_first_as_it_stands() -> None:
    finder = Finder({"subject": "Ten DAYS to pay", "body": "You have ten days to pay."})
    assert finder.find("ten days").column == "body"
    assert finder.find("DAYS to pay").column == "subject"
    assert finder.find("You have teen days to pay").column == "body"


def test_a_number_or_word_is_found_whole_before_it_is_found_in_another() -> None:
    evidence = Finder({"text": "In 15 days or 5 days."}).find("5 days")
    assert (evidence.start, evidence.end) == (14, 20)
    assert Finder({"text": "A category of cats."}).find("cat").start == 2


def test_a_quote_longer_than_its_text_is_none() -> None:
    assert match("It rains in Berlin today, and tomorrow too, they say", "It rains.") == "missing"


def test_a_long_quote_is_found_by_its_ends_and_compared_as_a_whole() -> None:
    text = max(real_texts(), key=len)
    quote = text[5_000:6_200].replace("the", "teh", 2)
    evidence = Finder({"text": text}).find(quote)
    assert evidence.match != "missing"
    assert abs((evidence.start or 0) - 5_000) < 20
    assert abs((evidence.end or 0) - 6_200) < 20
    dice = random.Random(1)
    middle = "".join(dice.sample(quote[200:-200], len(quote) - 400))
    assert match(quote[:200] + middle + quote[-200:], text) == "missing"


def test_what_is_made_of_a_text_is_made_once_and_only_when_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = list[str]()

    def counted(text: str) -> object:
        made.append(text)
        return folded(text)

    monkeypatch.setattr("ondine_nb.evaluation.evidence.folding.folded", counted)
    finder = Finder({"text": TEXT})
    finder.find("The fee of")
    assert made.count(TEXT) == 0
    for _ in range(3):
        finder.find("invoces are payable within ten busines days")
    assert made.count(TEXT) == 1


def test_no_call_of_the_c_library_sees_more_than_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    from rapidfuzz import fuzz

    seen = []
    align = fuzz.partial_ratio_alignment

    def watched(quote: str, text: str, *, score_cutoff: float) -> object:
        seen.append(len(text))
        return align(quote, text, score_cutoff=score_cutoff)

    monkeypatch.setattr(fuzz, "partial_ratio_alignment", watched)
    text = "".join(real_texts()[:40])[:500_000]
    assert match("a quote about zebras which nobody ever wrote into a manual", text) == "missing"
    assert max(seen) <= 10_000
    assert sum(seen) < 1.2 * len(text)


def test_a_quote_of_thousands_of_words_is_found_and_never_compared_word_by_word() -> None:
    text = max(real_texts(), key=len)
    quote = text[1_000:60_000]
    assert match(quote, text) == "exact"
    assert match(quote.upper().replace(" ", "  "), text) == "near"
    assert match(quote.replace(",", ""), text) == "near", "by its letters, with the same words"
    assert match(quote[:30_000] + quote[31_000:], text) == "missing"


def test_words_written_as_one_or_turned_letters_are_slips_and_other_words_are_not() -> None:
    assert same_meaning("the web site is here", "the website is here")
    assert same_meaning("informaton abuot things", "information about things")
    assert not same_meaning("increase the rate", "decrease the rate")
    assert not same_meaning("the employee pays", "the employer pays")
    assert not same_meaning("it is lawful to do so", "it is unlawful to do so")
    assert not same_meaning("it costs 5 %", "it costs $5")
    assert same_meaning("it costs 1,000 euros", "it costs 1000 euros")


def test_what_is_looked_for_nearly_in_one_row_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_MOST_FUZZY", 3 * len(folded(TEXT).text))
    finder = Finder({"text": TEXT})
    quote = "invoces are payable within ten busines days"
    assert [finder.find(quote).match for _ in range(4)] == ["near"] * 3 + ["missing"]
    assert finder.find("The fee of $1,250.50").match == "exact"


def test_every_kind_of_quote_is_measured() -> None:
    assert set(QUOTES) == {"verbatim", "reformatted", "misspelt", "invented", "turned"}
