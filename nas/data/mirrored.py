"""Classes whose names say that mirror images of the one are the other: left and right, links and rechts, b and d."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice, product

PAIRS = (
    ("left", "right"), ("lhs", "rhs"), ("lefthand", "righthand"), ("leftward", "rightward"), ("port", "starboard"),
    ("clockwise", "counterclockwise"), ("clockwise", "anticlockwise"), ("cw", "ccw"), ("east", "west"),
    ("links", "rechts"), ("linke", "rechte"), ("linker", "rechter"), ("linkes", "rechtes"), ("linken", "rechten"),
    ("gauche", "droite"), ("gauche", "droit"), ("izquierda", "derecha"), ("izquierdo", "derecho"), ("izq", "der"),
    ("izq", "dcha"), ("sinistra", "destra"), ("sinistro", "destro"), ("sx", "dx"), ("sin", "dex"),
    ("sinister", "dexter"), ("esquerda", "direita"), ("esquerdo", "direito"), ("esq", "dir"), ("esquerra", "dreta"),
    ("vanster", "hoger"), ("venstre", "hojre"), ("venstre", "hoyre"), ("vasen", "oikea"), ("lewo", "prawo"),
    ("lewa", "prawa"), ("lewy", "prawy"), ("levo", "pravo"), ("levy", "pravy"), ("vlevo", "vpravo"), ("bal", "jobb"),
    ("stanga", "dreapta"), ("sol", "sag"), ("kiri", "kanan"), ("trai", "phai"), ("hidari", "migi"), ("zuo", "you"),
    ("лево", "право"), ("левыи", "правыи"), ("левая", "правая"), ("влево", "вправо"), ("налево", "направо"),
    ("слева", "справа"), ("ліворуч", "праворуч"), ("αριστερα", "δεξια"), ("左", "右"), ("왼쪽", "오른쪽"),
    ("يسار", "يمين"), ("שמאל", "ימין"), ("बाएं", "दाएं"), ("os", "od"), ("b", "d"), ("p", "q"), ("l", "r"),
    ("←", "→"), ("⇐", "⇒"), ("◀", "▶"), ("↖", "↗"), ("↙", "↘"), ("👈", "👉"), ("⬅", "➡"), ("(", ")"), ("[", "]"),
    ("<", ">"), ("«", "»"), ("☜", "☞"),
)  # fmt: skip
"""Words in lower case, without accents. The last lines are letters and signs; ``os`` and ``od`` are the left and the
right eye in medicine."""
_LONG = 4
"""Letters of a word that is found within another one too: ``Linkspfeil``."""
_SWAPS = tuple((a, b) for pair in PAIRS for a, b in (pair, pair[::-1]))
_MOST = 256
"""Mirrored forms of one name that are tried."""
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]", re.UNICODE)
_HUMP = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def mirrored_pairs(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of classes whose names differ in words that mirror images exchange, in the order of the classes.

    Letters that stand alone count where they are lower case (a mirrored ``b`` is a ``d``, a mirrored ``B`` isn't a
    ``D``); ``l`` and ``r`` where they are part of a name, as in ``hand_l``, or where there are no other classes.
    """
    words = [_words(name) for name in classes]
    numbers = {name: i for i, name in reversed(list(enumerate(words)))}
    found = set()
    for i, ours in enumerate(words):
        for theirs in islice(product(*map(_forms, ours)), _MOST):
            j = numbers.get(theirs, i)
            if theirs != ours and not (len(classes) > 2 and {ours, theirs} == {("l",), ("r",)}):
                found.add((min(i, j), max(i, j)))
    return [(classes[i], classes[j]) for i, j in sorted(found) if i != j]


def _words(name: str) -> tuple[str, ...]:
    """Words and signs of a name, in lower case and without accents; single capital letters stay as they are."""
    plain = "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c))
    plain = plain.replace("ø", "o").replace("Ø", "O").replace("\ufe0f", "")
    words = _WORD.findall(_HUMP.sub(" ", plain))
    alone = len(words) == 1 and len(words[0]) == 1
    return tuple(word if alone else word.lower() for word in words if word not in "-_.,")


def _forms(word: str) -> list[str]:
    """A word, and what it becomes where a word of :data:`PAIRS`, which it is or has within, changes sides."""
    return [word, *(b for a, b in _SWAPS if a == word), *(
        word.replace(a, b) for a, b in _SWAPS if a in word and a != word and min(len(a), len(b)) >= _LONG
    )]  # fmt: skip
