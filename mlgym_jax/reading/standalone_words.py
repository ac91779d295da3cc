"""Words, dates and texts as the numbers that an exported model reads, by numpy alone.

It is a part of mlgym_jax that an exported folder holds a copy of, `words.py`; `predict.py` beside it calls it.
"""

import datetime
import decimal
import itertools
import json
import math
import re
import unicodedata

import numpy as np

_WORD = re.compile(r"\b\w\w+\b")  # scikit-learn's
# GPT-2's pattern, over the classes of the characters: letters, numbers, the blank, other white space, all else.
_PIECE = re.compile(r" ?L+| ?N+| ?o+|[ s]+(?![^ s])|[ s]+")
_ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_WHITE = {*"\t\n\v\f\r\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000", *map(chr, range(0x2000, 0x200B))}
_CIRCLES = {"month": 12, "day_of_week": 7, "hour": 24}


def numbers(inputs, model):
    """Return inputs as numbers, and the fields of the program that hold what texts became.

    Args:
        inputs: as `predict` of predict.py takes them; of a table perhaps columns by their names (a dict of lists, rows
            of `csv.DictReader`, a frame), or rows in which words and texts are strings.
        model: what model.json says.

    Raises:
        SystemExit: a column is missing or unknown, a word was not there in training, or a value is no number.
    """
    names, categories = model["feature_names"], model["categories"] or {}
    texts = model.get("texts") or []
    if list(model["inputs"]) != ["inputs"] or not names:
        return inputs, {}
    by_name = _by_name(inputs, names)
    if by_name is None and not texts:
        return inputs, {}
    if by_name is None:
        array = np.asarray(inputs)
        by_name = {name: array[:, place] for place, name in enumerate(names)}
    written = {entry["column"]: _Texts(categories[entry["column"]]) for entry in texts}
    columns = [_column(name, by_name[name], categories.get(name), written.get(name)) for name in names]
    for name, column in zip(names, columns, strict=True):
        if np.isnan(column).any() and name not in model["may_be_missing"]:
            raise SystemExit(f"row {np.isnan(column).argmax()}, column {name!r}: the value is missing")
    fields = {entry["field"]: vectors(written[entry["column"]].distinct, entry) for entry in texts}
    return np.stack(columns, axis=1), fields


def _by_name(inputs, names):
    """Return a table's columns by name; None of an array of numbers."""
    if isinstance(inputs, list | tuple) and len(inputs) and isinstance(inputs[0], dict):
        inputs = {name: [row[name] for row in inputs] for name in inputs[0]}
    if isinstance(inputs, dict) or hasattr(inputs, "columns"):
        found = {str(name): inputs[name] for name in getattr(inputs, "columns", inputs)}
        for name in [name for name in found if f"{name}.year" in names and name not in names]:
            found.update(_date_columns(name, found.pop(name), names))
        for words, one, other in (("there is no column", names, found), ("the model knows no column", found, names)):
            if missing := [name for name in one if name not in other]:
                raise SystemExit(f"{words} {missing[0]!r}; it was trained on {', '.join(names)}")
        return found
    array = np.asarray(inputs)
    if array.dtype.kind not in "UOT":
        return None
    if len(names) == 1:
        array = array.reshape(-1, 1)
    if array.ndim != 2 or array.shape[1] != len(names):
        raise SystemExit(f"expected {len(names)} columns, {', '.join(names)}, found {list(array.shape)}")
    return {name: array[:, place] for place, name in enumerate(names)}


def _date_columns(name, column, names):
    """Return year, month, …, of a column of dates (ISO 8601)."""
    found = {part: [] for part in names if part.startswith(f"{name}.")}
    for row, value in enumerate(np.asarray(column).tolist()):
        for part, number in _of_date(name, row, value).items():
            if f"{name}.{part}" in found:
                found[f"{name}.{part}"].append(number)
    return found


def _of_date(name, row, value):
    if isinstance(value, int):  # nanoseconds, as NumPy writes them
        value = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=value // 1000)
    if isinstance(value, str) and value.strip():
        try:
            value = datetime.datetime.fromisoformat(value.strip())
        except ValueError:
            raise SystemExit(
                f"row {row}, column {name!r}: a date such as 2026-11-24 is expected, found {value!r}"
            ) from None
        value = value.astimezone(datetime.UTC) if value.tzinfo else value
    if not isinstance(value, datetime.date) or value != value:
        parts = (
            "year",
            "month",
            "day",
            "day_of_week",
            "hour",
            *(f"{part}_{of}" for part in _CIRCLES for of in ("sin", "cos")),
        )
        return dict.fromkeys(parts, math.nan)
    hours = [
        getattr(value, part, 0) / size
        for part, size in (("hour", 1), ("minute", 60), ("second", 3600), ("microsecond", 3.6e9))
    ]
    found = {
        "year": value.year,
        "month": value.month,
        "day": value.day,
        "day_of_week": value.weekday(),
        "hour": sum(hours),
    }
    for part, size in _CIRCLES.items():
        turn = 2 * math.pi * (found[part] - (part == "month")) / size
        found |= {f"{part}_sin": math.sin(turn), f"{part}_cos": math.cos(turn)}
    return found


class _Texts:
    """The distinct texts of a column, in the order in which they come."""

    def __init__(self, known):
        self.known, self.distinct, self._codes = known, [], {}

    def code(self, value):
        if not isinstance(value, str):  # the number of a text that was there in training
            value = self.known[int(value)]
        text = value.strip()
        if text not in self._codes:
            self._codes[text] = len(self.distinct)
            self.distinct.append(text)
        return self._codes[text]


def _column(name, column, categories, texts):
    codes = None if categories is None else {str(word): code for code, word in enumerate(categories)}
    names_numbers = any(re.match(r"-?[0-9]", word) and _is_number(word) for word in codes or ())
    found = []
    for row, value in enumerate(np.asarray(column).tolist()):
        if value is None or value != value or (value == "" and "" not in (codes or ())):
            found.append(math.nan)
        elif texts is not None:
            found.append(texts.code(value))
        elif codes is None or not (isinstance(value, str) or names_numbers):
            try:
                found.append(_number(value))
            except (TypeError, ValueError):
                raise SystemExit(f"row {row}, column {name!r}: a number is expected, found {value!r}") from None
        else:
            text = str(value)
            word = next((word for word in (text, text.strip()) if word in codes), _category_name(text))
            if word not in codes:
                raise SystemExit(f"row {row}, column {name!r}: {value!r} was not there in training")
            found.append(codes[word])
    return np.array(found, np.float64)


def _number(value):
    if isinstance(value, str) and ("_" in value or not value.isascii()):  # which Python reads, and no csv file has
        raise ValueError(value)
    return float(value)


def _is_number(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _category_name(value):
    """Write a number as the category of it is called: 7 for 7.0, and 07 for 07."""
    if re.match("0[0-9]+$", value.strip()):
        return value.strip()
    try:
        number = decimal.Decimal(value.strip())
        if not number.is_finite():
            return value.strip()
    except decimal.InvalidOperation:
        return value.strip()
    if number == int(number):
        return str(int(number))
    short = str(float(number))
    return short if decimal.Decimal(short) == number else str(number)


def vectors(texts, how):
    """Return float32[texts, width]: texts by their words, as scikit-learn's vectorizers with their defaults have them.

    Filled up with texts without words to a power of two, for a program is compiled anew for each number of them.

    Args:
        how: `weights` "tf_idf", "counts" or "hashing"; `ngrams`, words in a row that are one, at most; `width`; and of
            the first two `vocabulary`, the words in the order of their columns; of the first `idf`, their weights.
    """
    found = np.zeros((max(1, 1 << (len(texts) - 1).bit_length()), how["width"]))
    places = {word: place for place, word in enumerate(how.get("vocabulary", ()))}
    for row, text in zip(found, texts, strict=False):
        words = _WORD.findall(text.lower())
        for length in range(1, how["ngrams"] + 1):
            for start in range(len(words) - length + 1):
                term = " ".join(words[start : start + length])
                if how["weights"] == "hashing":
                    number = murmur3(term.encode())
                    row[abs(number) % how["width"]] += 1 if number >= 0 else -1
                elif term in places:
                    row[places[term]] += 1
    if how["weights"] == "tf_idf":
        found[:, : len(places)] *= np.array(how["idf"])[None]
    if how["weights"] != "counts":
        norms = np.sqrt(np.square(found).sum(axis=1, keepdims=True))
        found /= np.where(norms > 0, norms, 1)
    return found.astype(np.float32)


def murmur3(data, seed=0):
    """Return MurmurHash3 of bytes as a signed number of 32 bits (Appleby, 2011)."""

    def turned(value, by):
        return (value << by | value >> (32 - by)) & 0xFFFFFFFF

    def mixed(value):
        return turned(value * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF

    found, whole = seed, len(data) // 4 * 4
    for start in range(0, whole, 4):
        found = turned(found ^ mixed(int.from_bytes(data[start : start + 4], "little")), 13)
        found = (found * 5 + 0xE6546B64) & 0xFFFFFFFF
    if data[whole:]:
        found ^= mixed(int.from_bytes(data[whole:], "little"))
    found ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        found = (found ^ found >> shift) * factor & 0xFFFFFFFF
    return found - (1 << 32) if found >> 31 else found


class Tokenizer:
    """Texts as tokens, and back: the tokenizer that a run trained and kept.

    Args:
        path: of tokenizer.json.
    """

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        self.kind = kept.get("type", "byte_pairs")
        if self.kind == "words":
            self._words = ["", "", "", "[UNK]", *kept["vocabulary"]]
            self._numbers = {word: number for number, word in enumerate(self._words) if number > 3}
        elif self.kind == "byte_pairs":
            self._tokens = kept["model"]["vocab"]
            self._names = {number: name for name, number in self._tokens.items()}
            pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in kept["model"]["merges"]]
            self._ranks = {tuple(pair): rank for rank, pair in enumerate(pairs)}
            self._special = {entry["id"] for entry in kept["added_tokens"]}
            plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
            others = [byte for byte in range(256) if byte not in plain]
            self._of_byte = {byte: chr(byte) for byte in plain}
            self._of_byte |= {byte: chr(256 + place) for place, byte in enumerate(others)}
            self._to_byte = {sign: byte for byte, sign in self._of_byte.items()}
            self._known = {}

    def encode(self, text):
        """Return the tokens of a text, int32[n]."""
        if self.kind == "bytes":
            return np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        if self.kind == "words":
            return np.array([self._numbers.get(word, 3) for word in text.split()], np.int32)
        return np.array([token for piece in _pieces(text) for token in self._of_piece(piece)], np.int32)

    def decode(self, tokens):
        """Return the text of some tokens; those that stand for no text are left out."""
        tokens = [*map(int, tokens)]
        if self.kind == "bytes":
            return bytes(token for token in tokens if token < 256).decode(errors="replace")
        if self.kind == "words":
            return " ".join(filter(None, (self._words[token] for token in tokens)))
        names = "".join(self._names[token] for token in tokens if token not in self._special)
        return bytes(self._to_byte[sign] for sign in names).decode(errors="replace")

    def _of_piece(self, piece):
        """Merge the pairs of a piece, those that were merged first in training before others."""
        if piece not in self._known:
            parts = [self._of_byte[byte] for byte in piece.encode()]
            while len(parts) > 1:
                ranks = [self._ranks.get(pair, math.inf) for pair in itertools.pairwise(parts)]
                least = min(ranks)
                if least == math.inf:
                    break
                place = ranks.index(least)
                parts[place : place + 2] = ["".join(parts[place : place + 2])]
            self._known[piece] = [self._tokens[part] for part in parts]
        return self._known[piece]


def _pieces(text):
    """Cut a text into what is merged by itself: words, numbers and signs, each with the blank before it."""
    classes = "".join(map(_class_of, text))
    found, start = [], 0
    while start < len(text):
        ending = next((one for one in _ENDINGS if text.startswith(one, start)), None)
        found_here = _PIECE.match(classes, start)
        stop = found_here.end() if found_here and not ending else start + len(ending or " ")
        found.append(text[start:stop])
        start = stop
    return found


def _class_of(sign):
    if sign == " ":
        return " "
    category = unicodedata.category(sign)[0]
    return "s" if sign in _WHITE else category if category in "LN" else "o"
