"""What the practice server says: rules on words, in place of a model that reads.

A prompt of the gallery asks first and gives the row's text last, after an empty line. Each field of
a schema has a rule of its name here; the "larger" models know more words than the smallest one.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import BytesIO
from typing import Any

__all__ = ["answer", "said", "trouble"]

TOPICS = {  # what the smallest model goes by, then what a larger one knows besides
    "billing": (
        "charged invoice voucher refund paid euros plan price",
        "collector vat prices notice",
    ),
    "delivery": (
        "courier tracking parcel delivery delivered arrived",
        "warehouse customs depot backordered ordered packing neighbour",
    ),
    "defect": (
        "leaks cracked smoke jams hairline display shock",
        "burnt glass froths wakes splinters firmware safety frother scale",
    ),
    "account": ("password account login", "logged codes card surname two-factor number"),
    "other": ("newsletter thanks open fit", "repair hotel paper recipe acid beans brands picture"),
}
ALARMS = {
    5: "shock smoke burnt hospital glass splinters",
    4: "today tomorrow rain",
    3: "block deadline twice leaks cracked nobody charged cancelling jams",
    2: "still never again late wrong",
}
FINDINGS = {
    "pests": "droppings cockroach flies rat mould",
    "temperature": "c fridge eggs thawing cooled kept warm freezer",
    "cleaning": "grease greasy dirty filthy film crumbs rusty smoking cloudy soap",
    "storage": "raw labels dates stored bread crates",
    "staff": "certificate glove cook staff allergen",
    "building": "tiles door hose bulb toilet window screen",
}
GRAVE = "droppings cockroach mould thawing flies blocked smoking rat"
SOUND = "order remarks exemplary spotless mended object complete"
CLAUSES = {
    "deposit": "deposit security guarantee",
    "notice": "notice end ends ended break runs term",
    "pets": "cats dogs pets animals cat dog goldfish hens",
    "repairs": "repairs boiler repaints faults serviced mended",
    "rent": "rent pays month turnover pay",
    "house rules": "music bicycles washing kitchen visitors hedges balcony snow signs key hut",
}
ODD = "goldfish whatever without locks waives repaints reported structure whole excluded"
THEMES = {
    "price": "price money expensive value cheap worth cost",
    "delivery": "delivery arrived courier parcel late box packaging",
    "quality": "broke broken stopped cracked works weak sturdy quality leaks fell torn battery",
    "comfort": "soft comfortable gentle smooth quiet loud warm easy light smell taste fits",
}
BAD = "awful annoying broke broken stopped waste refund weak poor worst doesn't never not smell"
ROLES = (
    "analyst|engineer|developer|auditor|baker|bioinformatician|administrator|rider|instructor|"
    "planner|head of support|translator|web shop"
)
PLACES = (
    "Hamburg|Bath|Lübeck|Wageningen|Flensburg|Leeds|Gothenburg|Brest|Vienna|Zurich|Ghent|Milan|"
    "Edinburgh|Berlin|Bremen|Copenhagen|Utrecht|Stockholm"
)
TONGUES = "SQL|Python|PHP|JavaScript|TypeScript|Go|Rust|C\\+\\+|Fortran|R|Java|C"
SIGNS = {"£": "GBP", "EUR": "EUR", "GBP": "GBP", "CHF": "CHF", "SEK": "SEK", "DKK": "DKK"}
REPLIES = {
    "billing": "We will refund what was taken too much within three days.",
    "delivery": "We have asked the carrier and will write again by tomorrow noon.",
    "defect": "Please unplug the device and send us a photo of it. We will bring you a new one.",
    "account": "We have sent you a link. It works once, for two hours, and leads to your settings.",
    "other": "Thank you for writing to us. A colleague who knows this well will answer you today.",
}


@dataclass(frozen=True)
class Question:
    """What was asked: the instruction, the row's text, and the size of the model that answers."""

    ask: str
    text: str
    large: bool

    @property
    def words(self) -> list[str]:
        return re.findall(r"[\w'-]+", self.text.lower())

    def hits(self, known: str) -> int:
        """How many of the text's words are among `known`."""
        names = set(known.split())
        return sum(word in names for word in self.words)

    def best(self, groups: Mapping[str, str]) -> tuple[str, int, int]:
        """The group with most hits, its hits, and those of the next one."""
        counts = sorted(((self.hits(known), name) for name, known in groups.items()), reverse=True)
        return counts[0][1], counts[0][0], counts[1][0]


def said(body: Mapping[str, Any]) -> str:
    """The answer to a request, as the server wants it."""
    turn = body["messages"][-1]["content"]
    prompt = turn if isinstance(turn, str) else "".join(map(_words, turn))
    form = (body.get("output_config") or {}).get("format")
    return answer(prompt, form["schema"] if form else None, body["model"])


def _words(block: Mapping[str, Any]) -> str:
    """The text of a block of the prompt; of a picture what its pixels say."""
    if block["type"] != "image":
        return str(block.get("text", ""))
    import receipts
    from PIL import Image

    content = base64.b64decode(block["source"]["data"])
    return receipts.read(Image.open(BytesIO(content)))


def answer(prompt: str, schema: Mapping[str, Any] | None, model: str) -> str:
    """Plain text, or JSON that meets the schema."""
    ask, _, text = prompt.rpartition("\n\n")
    question = Question(ask.lower(), text, "haiku" not in model and model != "practice")
    if schema is None:
        return _reply(question)
    fields = schema.get("properties", {})
    return json.dumps({name: _value(name, form, question) for name, form in fields.items()})


def trouble(body: Mapping[str, Any], attempt: int) -> str | None:
    """What befalls a request: an overloaded server now and then, one refusal."""
    text = json.dumps(body["messages"])
    if "burnt her hand" in text and attempt == 1:
        return "refusal"
    return "529" if attempt == 1 and sha256(text.encode()).digest()[0] % 12 == 0 else None


def _value(name: str, form: Mapping[str, Any], question: Question) -> Any:
    found = RULES[name](question)
    choices = form.get("enum", ())
    if isinstance(found, bool) and "yes" in choices:
        return "yes" if found else "no"
    return found if not choices or found in choices else choices[-1]


def _topics(question: Question) -> dict[str, str]:
    return {
        name: f"{few} {more}" if question.large else few for name, (few, more) in TOPICS.items()
    }


def _topic(question: Question) -> str:
    name, hits, _ = question.best(_topics(question))
    return name if hits else "other"


def _sure(question: Question) -> bool:
    _, hits, next_hits = question.best(_topics(question))
    return hits > next_hits


def _alarm(question: Question) -> int:
    """From 1, calm, to 5, somebody may get hurt."""
    return next((level for level, known in ALARMS.items() if question.hits(known)), 1)


def _urgent(question: Question) -> bool:
    asked = re.search(r"from (\d) on", question.ask)
    return _alarm(question) >= int(asked[1] if asked else 4)


def _priority(question: Question) -> int:
    """0 for a message that has to do with no order: nothing is late."""
    everything = {name: f"{few} {more}" for name, (few, more) in TOPICS.items()}
    name, hits, next_hits = question.best(everything)
    calm = _alarm(question) == 1
    return 0 if calm and name == "other" and hits > next_hits else _alarm(question)


def _finding(question: Question) -> str:
    name, hits, _ = question.best(FINDINGS)
    return name if hits and not question.hits(SOUND) else "none"


def _severity(question: Question) -> str:
    if _finding(question) == "none":
        return "low"
    return "high" if question.hits(GRAVE) else "medium"


def _degrees(question: Question) -> float | None:
    found = re.search(r"(-?\d+(?:\.\d)?) C\b", question.text)
    return float(found[1]) if found else None


def _clause(question: Question) -> str:
    name, hits, _ = question.best(CLAUSES)
    return name if hits else "house rules"


def _amount(question: Question) -> float | None:
    found = re.search(r"(?:EUR|GBP|CHF) ?([\d,]+)", question.text)
    return float(found[1].rstrip(",").replace(",", "")) if found else None


def _theme(question: Question) -> str:
    name, hits, _ = question.best(THEMES)
    return name if hits else "other"


def _sentiment(question: Question) -> str:
    return "negative" if question.hits(BAD) else "positive"


def _title(question: Question) -> str:
    pattern = rf"(?:\b[A-Z]\w+ )?(?:[\w-]+ )?(?:[\w-]+ )?(?:{ROLES})\b"
    found = re.search(pattern, question.text, re.IGNORECASE)
    words = re.sub(r"^.*\b(?:a|an|the|for|our)\b ", "", found[0] if found else "?")
    return words[:1].upper() + words[1:]


def _place(question: Question) -> str | None:
    found = re.search(rf"\b(?:{PLACES})\b", question.text)
    return found[0] if found else None


def _work(question: Question) -> str:
    text = question.text.lower()
    if re.search(r"hybrid|days? (?:a|at) |home days|from home|or our barn|day a week", text):
        return "hybrid"
    remote = re.search(r"\bremote\b|online", text) and "no home" not in text
    return "remote" if remote else "on site"


def _pay(question: Question) -> list[float]:
    """The amounts that stand beside a currency, the lower one first."""
    sign = "|".join(SIGNS)
    number = r"\d[\d,]*(?:\.\d+)?k?"
    rest = rf"(?:\s*(?:-|to)\s*£?({number}))?"
    before = re.search(rf"(?:{sign})\s?({number}){rest}", question.text)
    behind = re.search(rf"({number}){rest}\s(?:{sign})", question.text)
    found = behind or before
    return [_number(part) for part in found.groups() if part] if found else []


def _number(text: str) -> float:
    return float(text.rstrip("k").replace(",", "")) * (1000 if text.endswith("k") else 1)


def _currency(question: Question) -> str | None:
    if receipt := re.search(r"TOTAL (\w{3})", question.text):
        return receipt[1]
    found = re.search("|".join(SIGNS), question.text)
    return SIGNS[found[0]] if found and _pay(question) else None


def _shop(question: Question) -> str:
    return question.text.partition("\n")[0]


def _day(question: Question) -> str | None:
    found = re.search(r"Date: (\d\d)\.(\d\d)\.(\d{4})", question.text)
    return "-".join(reversed(found.groups())) if found else None


def _items(question: Question) -> int:
    return sum(map(int, re.findall(r"(?m)^(\d) .*\d$", question.text)))


def _total(question: Question) -> float | None:
    """What can be read of it; a larger model adds the items up where something is in the way."""
    _, _, line = question.text.partition("TOTAL")
    read = line.partition("\n")[0]
    if "?" in read and question.large:
        prices = re.findall(r"(?m)^\d .* (\d+\.\d\d)$", question.text)
        return round(sum(map(float, prices)), 2)
    found = re.search(r"\d+(?:\.\d\d)?", read)
    return float(found[0]) if found else None


def _paid(question: Question) -> str:
    return "cash" if "Paid by cash" in question.text else "card"


def _per(question: Question) -> str | None:
    if not _pay(question):
        return None
    spans = {"hour": "an hour|per hour", "day": "day rate", "month": "a month"}
    return next((span for span, said in spans.items() if re.search(said, question.text)), "year")


def _start(question: Question) -> str | None:
    found = re.search(r"\b(\d{1,2} [A-Z]\w+ 20\d\d)\b", question.text)
    return datetime.strptime(found[1], "%d %B %Y").date().isoformat() if found else None


def _languages(question: Question) -> list[str]:
    return list(dict.fromkeys(re.findall(rf"(?<![\w&])(?:{TONGUES})(?![\w+])", question.text)))


def _reply(question: Question) -> str:
    """A letter, or with "summary" or "title" in the instruction a few words of the text."""
    if re.search(r"\b(?:summary|title|words)\b", question.ask):
        return " ".join(question.text.split()[:12]).rstrip(".,") + "."
    if _alarm(question) >= 5:
        return "We are very sorry. Please do not use it any more; we will ring you within an hour."
    return f"Hello, thank you for your message. {REPLIES[_topic(question)]} Kettle & Crumb"


def _listed(question: Question) -> list[str]:
    """What is numbered in a question about many: rows, or the answers about parts of them."""
    return re.findall(r"^\d+\. (.*(?:\n   .*)*)", question.text, re.MULTILINE)


def _parts(question: Question) -> list[dict[str, Any]]:
    """The answers that are to be merged; none where the question is about rows."""
    merges = "</request>" in question.ask
    return [json.loads(item) for item in _listed(question)] if merges else []


def _counted(question: Question) -> Counter[str]:
    """How often each remark stands in the rows, or how often the parts have it by what they say."""
    parts = _parts(question)
    if not parts:
        remarks = [re.search(r"Well, ([^.]+)\.", item) for item in _listed(question)]
        return Counter(found[1] for found in remarks if found)
    counts = Counter[str]()
    for part in parts:
        for remark, times in re.findall(r"([^;]+) \((\d+)\);?", part["says"]):
            counts[remark.strip()] += int(times)
    return counts


def _says(question: Question) -> str:
    counted = _counted(question).most_common()
    return "; ".join(f"{remark} ({times})" for remark, times in counted)


def _examples(question: Question) -> list[int]:
    """The first rows that make the commonest remark; of parts, the first that each has named."""
    parts = _parts(question)
    if parts:
        return [row for part in parts for row in part["rows"][:1]][:5]
    commonest = _counted(question).most_common(1)
    rows = enumerate(_listed(question), 1)
    return [number for number, item in rows if commonest and commonest[0][0] in item][:5]


RULES: dict[str, Callable[[Question], Any]] = {
    "topic": _topic,
    "guess": _topic,
    "sure": _sure,
    "urgent": _urgent,
    "wake": _urgent,
    "priority": _priority,
    "finding": _finding,
    "severity": _severity,
    "degrees": _degrees,
    "clause": _clause,
    "kind": _clause,
    "unusual": lambda question: bool(question.hits(ODD)),
    "amount": _amount,
    "theme": _theme,
    "sentiment": _sentiment,
    "title": _title,
    "place": _place,
    "work": _work,
    "pay_low": lambda question: min(_pay(question), default=None),
    "pay_high": lambda question: max(_pay(question), default=None),
    "currency": _currency,
    "per": _per,
    "start": _start,
    "languages": _languages,
    "says": _says,
    "rows": _examples,
    "shop": _shop,
    "day": _day,
    "items": _items,
    "total": _total,
    "paid": _paid,
    "legible": lambda question: "?" not in question.text,
}
