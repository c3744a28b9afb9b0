"""Texts to train and to test tokenizers with: every script, emoji, odd spaces, control characters, combining marks.

Everything is drawn by seeded generators from the Unicode database and from documentation inside Python's standard
library, so nothing is downloaded and two runs give the same texts.
"""

import functools
import random
import unicodedata
from collections.abc import Iterator
from pydoc_data.topics import topics

SPACES = [chr(code) for code in [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)]]
SPACES += ["\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\r\n", "  ", "\n\n\n"]
INVISIBLE = ["\u200b", "\u200c", "\u200d", "\u200e", "\u2060", "\ufeff", "\u00ad", "\u180e", "\ufe0f", "\ufffd", "\u034f"]
CONTROLS = [chr(code) for code in [*range(0, 32), *range(0x7F, 0xA0)]]
EMOJI = """😀 ❤️ ❤ 👍🏽 👩‍🚀 👨‍👩‍👧‍👦 🏳️‍🌈 🏴‍☠️ 🇩🇪 🇯🇵🇰🇷 🇩 🧑🏿‍🤝‍🧑🏻 1️⃣ #️⃣ ☎️ 🏴󠁧󠁢󠁳󠁣󠁴󠁿 ✨🐱🔥 🫠 ©️ ™ ㊗️""".split(" ")
LITERALS = ["<|startoftext|>", "<|endoftext|>", "<|EndOfText|>", "<|endoftext|>!!", "<|ENDOFTEXT|>!!", "</s>", "<s>", "<pad>", "<unk>"]
LITERALS += ["<extra_id_0>", "<extra_id_99>", "<extra_id_100>", "<Extra_Id_5>", "＜extra_id_5＞", "!", "!!!", "</w>", "▁", "a▁b▁▁"]
TRICKY = ["it's they'll WE'VE don't i'm you're he'd 'S ''s '", "İSTANBUL ıI", "ΟΔΥΣΣΕΥΣ ς", "ﬁne ﬃx ﬀ", "ｆｕｌｌ ｗｉｄｔｈ", "ſ\u0301 ſt"]
TRICKY += ["x² ½ Ⅷ ⅷ 三 ٣ ৩ 12345 3.14 1,000", "a\u0301 e\u0301 A\u030a \u0301 \u0301a", "각 각", "ｶﾞ ﾊﾟ", "Ǆ ǅ ǆ ẞ ß", "№ ℃ ㎏ ㍿"]
TRICKY += ["d\u0313 ｄ\u0313", "\u1100\u1161\u11a8", "क्षि ज़ श्री", "ก็ นํ้า", "مُحَمَّد ﷺ ﻼ", "שָׁלוֹם", "\U00011935\U00011930", "\u0344 \u0958 \u2adc"]
CHATS = ["<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n", "<think>\n\n</think>\n\n", "a<|IM_END|>b<|im_end|> c"]
CHATS += ["I'M we'Ve 'ſ x'ſt 'LLama 'll 'D", "1234 ١٢ a1b", "!!\r\n\n a \n \n b  c \t", " \u3000a \u3000", "'re're 'r 'v' \u00a0x", "tail  "]
SUBJECTS = "kitten,robot,old man,café,naïve façade,castle,東京タワー,Straße,щенок,γάτα,قطة,बिल्ली".split(",")
STYLES = "oil painting,4k,highly detailed,Van Gogh,f/1.8,35 mm,#art,(masterpiece:1.2),[trending],--ar 16:9".split(",")
BYTES_MAX = 5000


@functools.cache
def letters_by_script() -> dict[str, list[str]]:
    """Letters and marks, under the first word of their names: LATIN, GREEK, CJK, …"""
    scripts: dict[str, list[str]] = {}
    for code in range(0x110000):
        if unicodedata.category(chr(code))[0] in "LM":
            scripts.setdefault(unicodedata.name(chr(code), "UNNAMED").split(" ")[0], []).append(chr(code))
    return scripts


@functools.cache
def combining_marks() -> list[str]:
    return [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)).startswith("M")]


@functools.cache
def assigned() -> list[str]:
    """Every character that this Python's Unicode database knows, but no surrogates and no private use."""
    return [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]


def documentation() -> list[str]:
    """English text and source code: a line each."""
    return [line.strip() for text in topics.values() for line in text.splitlines() if line.strip()]


def words_of(script: str, source: random.Random, count: int) -> str:
    letters = letters_by_script()[script]
    return " ".join("".join(source.choices(letters, k=source.randint(1, 8))) for _ in range(count))


def cut(text: str) -> str:
    """The longest beginning of at most 5,000 bytes."""
    return text.encode()[:BYTES_MAX].decode(errors="ignore")


def training_lines(seed: int, script_lines: int = 20, documentation_lines: int = 6000) -> list[str]:
    source = random.Random(seed)
    lines = source.sample(documentation(), documentation_lines)
    lines += [words_of(script, source, 6) for script in letters_by_script() for _ in range(script_lines)]
    lines += [unicodedata.name(char).lower() for char in source.sample(assigned(), 3000) if unicodedata.name(char, "")]
    return lines + TRICKY + EMOJI


def prompts(seed: int) -> Iterator[str]:
    """More than 2,000 prompts of every kind, from none to 5,000 bytes."""
    source = random.Random(seed)
    fragments = [*SPACES, *INVISIBLE, *CONTROLS, *EMOJI, *LITERALS, *TRICKY]
    yield from ["", " ", "\x00", *CHATS, *fragments]
    yield from (f"a{fragment}b {fragment} c" for fragment in fragments)
    for script in letters_by_script():
        for count in (1, 4, 12):
            yield words_of(script, source, count)
    for _ in range(500):
        subject, styles = source.choice(SUBJECTS), source.sample(STYLES, source.randint(0, 4))
        yield ", ".join([f"A {subject} in front of the {source.choice(SUBJECTS)}", *styles])
    yield from source.sample(documentation(), 300)
    for _ in range(500):
        yield "".join(source.choices([*fragments, *SUBJECTS, *STYLES, " ", ", "], k=source.randint(1, 30)))
    for _ in range(20):
        yield cut(" ".join(source.sample(documentation(), 150)))
        yield cut("".join(source.choices(assigned(), k=2500)))
    yield from ("a" * BYTES_MAX, "!" * BYTES_MAX, "́" * (BYTES_MAX // 2), "é" * 2500, "👨‍👩‍👧‍👦" * 200, " \n" * 2500)


def fuzz(seed: int, count: int) -> Iterator[str]:
    """Short strings of base characters under one to four combining marks."""
    source = random.Random(seed)
    bases = ["a", "E", "ｄ", "ſ", " ", "1", "!", "é", "한", "か", "ｶ", "م", "क", "ﬁ", "\u2126", "\u0600", "\r", "\n", "🙂"]
    for _ in range(count):
        text = ""
        for _ in range(source.randint(1, 6)):
            text += source.choice(bases) if source.random() < 0.7 else source.choice(assigned())
            text += "".join(source.choices(combining_marks(), k=source.choice([0, 1, 1, 1, 2, 4])))
        yield text


def every_character() -> Iterator[str]:
    """Each assigned character between letters, after a base, before a mark and next to digits, 50 to a text."""
    characters = assigned()
    for begin in range(0, len(characters), 50):
        yield " ".join(f"a{c}b {c}\u0301 1{c}2 {c}{c}a\u0345{c}" for c in characters[begin : begin + 50])
