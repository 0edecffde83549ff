"""Large letters for a label and its percentage, drawn with half blocks (3 rows) or whole ones (5 rows).

Capitals, digits and some signs, five dots high. Diacritics are dropped. A text with any other character has no
large form. Knows nothing of streams or colours.
"""

import unicodedata

_DOTS = """
A .##. #..# #### #..# #..#
B ###. #..# ###. #..# ###.
C .### #... #... #... .###
D ###. #..# #..# #..# ###.
E #### #... ###. #... ####
F #### #... ###. #... #...
G .### #... #.## #..# .###
H #..# #..# #### #..# #..#
I # # # # #
J ..## ...# ...# #..# .##.
K #..# #.#. ##.. #.#. #..#
L #.. #.. #.. #.. ###
M #...# ##.## #.#.# #...# #...#
N #..# ##.# #.## #..# #..#
O .##. #..# #..# #..# .##.
P ###. #..# ###. #... #...
Q .##. #..# #..# #.#. .#.#
R ###. #..# ###. #.#. #..#
S .### #... .##. ...# ###.
T ##### ..#.. ..#.. ..#.. ..#..
U #..# #..# #..# #..# .##.
V #...# #...# .#.#. .#.#. ..#..
W #...# #...# #.#.# ##.## #...#
X #..# #..# .##. #..# #..#
Y #...# .#.#. ..#.. ..#.. ..#..
Z #### ...# .##. #... ####
0 .##. #..# #..# #..# .##.
1 .#. ##. .#. .#. ###
2 ###. ...# .##. #... ####
3 ###. ...# .##. ...# ###.
4 #..# #..# #### ...# ...#
5 #### #... ###. ...# ###.
6 .##. #... ###. #..# .##.
7 #### ...# ..#. .#.. .#..
8 .##. #..# .##. #..# .##.
9 .##. #..# .### ...# .##.
% #...# ...#. ..#.. .#... #...#
- ... ... ### ... ...
_ .... .... .... .... ####
. . . . . #
, .. .. .. .# #.
' # # . . .
/ ..# ..# .#. #.. #..
& .#... #.#.. .#... #.#.# .#.#.
+ ... .#. ### .#. ...
( .# #. #. #. .#
) #. .# .# .# #.
"""
_GLYPHS = {line[0]: line[2:].split(" ") for line in _DOTS.strip().splitlines()} | {" ": ["..."] * 5}
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def large(text: str, rows: int) -> list[str] | None:
    """Set `text` in large letters, in 3 or 5 rows of equal width; None when it has no large form."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c)).upper()
    if not plain or any(c not in _GLYPHS for c in plain):
        return None
    dots = [".".join(_GLYPHS[c][i] for c in plain) for i in range(5)]
    if rows >= 5:
        return [line.replace(".", "  ").replace("#", "██") for line in dots]
    dots.append("." * len(dots[0]))
    return [
        "".join(_HALVES[a == "#", b == "#"] for a, b in zip(dots[i], dots[i + 1], strict=True))
        for i in (0, 2, 4)
    ]
