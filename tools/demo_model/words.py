"""What a picture can show, how captions say it, and which combinations training never sees."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

SUBJECTS = {
    "kitten": ["kitten", "kitten", "cat", "kitty", "little cat"],
    "puppy": ["puppy", "puppy", "dog", "doggy", "little dog"],
    "rabbit": ["rabbit", "rabbit", "bunny", "hare"],
    "bird": ["bird", "bird", "little bird", "birdie"],
    "fish": ["fish", "fish", "goldfish"],
    "car": ["car", "car", "automobile", "auto"],
    "boat": ["boat", "boat", "sailing boat", "ship", "sailboat"],
    "house": ["house", "house", "cottage", "home"],
    "tree": ["tree", "tree", "round tree"],
    "balloon": ["balloon", "balloon", "toy balloon"],
    "mug": ["mug", "mug", "cup", "cup of coffee", "mug of tea"],
    "robot": ["robot", "robot", "little robot", "android"],
}
COLOURS = {
    "red": (226, 54, 56), "orange": (246, 140, 34), "yellow": (252, 214, 52), "green": (62, 168, 72),
    "blue": (50, 112, 224), "purple": (140, 76, 196), "pink": (252, 142, 190), "brown": (138, 90, 56),
    "black": (58, 54, 66), "white": (250, 248, 246), "grey": (156, 158, 168),
}
# The colours a visitor expects when the prompt names none.
NATURAL = {
    "kitten": ["orange", "grey", "brown", "white"], "puppy": ["brown", "orange", "white"],
    "rabbit": ["white", "grey", "brown"], "bird": ["blue", "red", "yellow"], "fish": ["orange", "blue"],
    "car": ["red", "blue", "yellow"], "boat": ["red", "blue", "white"], "house": ["white", "yellow", "red"],
    "tree": ["green"], "balloon": ["red", "blue", "pink"], "mug": ["white", "red", "blue"], "robot": ["grey", "blue"],
}
SCENES = {
    "fireplace": ["in front of a fireplace", "in front of the fireplace", "by the fireplace", "by a warm fire",
                  "near a fireplace", "at the fireplace", "next to a burning fireplace"],
    "beach": ["on the beach", "on a sandy beach", "at the beach", "on a beach with palm trees"],
    "forest": ["in the forest", "in a forest", "in the woods", "among the trees"],
    "snow": ["in the snow", "in a snowy landscape", "in winter", "in the snowy mountains"],
    "space": ["on the moon", "in space", "in outer space", "on a planet in space"],
    "city": ["in the city", "in a city", "on a street", "in front of tall buildings"],
    "meadow": ["in a meadow", "on the grass", "in a green field", "in the meadow"],
    "desert": ["in the desert", "in a desert", "among cactuses", "on the dunes"],
    "sea": ["on the sea", "in the sea", "on the water", "on the ocean", "on the waves"],
    "kitchen": ["in the kitchen", "in a kitchen", "on the kitchen table", "on a kitchen counter"],
}
TIMES = {
    "day": ["by day", "on a sunny day", "in the daytime", "under a blue sky"],
    "sunset": ["at sunset", "at dusk", "in the evening", "under a sunset sky"],
    "night": ["at night", "by night", "under the stars", "under the moon"],
}
PLACES = {
    "left": ["on the left", "to the left"], "middle": ["in the middle", "in the centre"], "right": ["on the right", "to the right"],
}
PREFIXES = ["a picture of", "an image of", "a drawing of", "an illustration of", "a photo of", "a cartoon of", "a painting of",
            "draw"]
FILLERS = ["cute", "beautiful", "happy", "small", "big", "nice", "lovely", "friendly", "detailed", "bright", "shiny", "little",
           "sitting", "standing", "very", "colourful", "cheerful", "wonderful", "high quality", "4k", "masterpiece",
           "storybook", "vector art"]
GREY = ["grey", "gray"]
INDOORS = ("fireplace", "kitchen")
TIMELESS = ("fireplace", "space")


@dataclass(frozen=True)
class Content:
    """What one picture shows."""

    subject: str
    colour: str
    scene: str
    time: str
    place: str


def held_out(count: int = 200) -> list[tuple[str, str, str]]:
    """Returns the (subject, colour, scene) combinations that no training picture shows."""
    combinations = list(itertools.product(SUBJECTS, COLOURS, SCENES))
    return random.Random(20).sample(combinations, count)


def draw_content(random_source: random.Random, excluded: frozenset = frozenset()) -> Content:
    """Returns random content whose (subject, colour, scene) is not excluded."""
    while True:
        subject = random_source.choice(list(SUBJECTS))
        colours = NATURAL[subject] if random_source.random() < 0.25 else list(COLOURS)
        colour, scene = random_source.choice(colours), random_source.choice(list(SCENES))
        if (subject, colour, scene) not in excluded:
            break
    time = "day" if scene in TIMELESS else random_source.choices(["day", "sunset", "night"], [2, 1, 1])[0]
    place = random_source.choices(["left", "middle", "right"], [1, 3, 1])[0]
    return Content(subject, colour, scene, time, place)


def caption(content: Content, random_source: random.Random) -> str:
    """Returns one of the many ways to ask for this picture."""
    chance, choose = random_source.random, random_source.choice
    noun = choose(SUBJECTS[content.subject])
    # A usual colour, daylight and the middle are often left unsaid: that makes them the defaults.
    usual = content.colour in NATURAL[content.subject]
    colour = "" if chance() < (0.45 if usual else 0.05) else choose(GREY) if content.colour == "grey" else content.colour
    words = [colour, noun]
    if chance() < 0.15:
        words.insert(choose((0, 1)), choose(FILLERS))
    phrase = " ".join(word for word in words if word)
    if chance() < 0.85:
        article = choose(["the", "one"]) if chance() < 0.1 else "an" if phrase[0] in "aeiou" else "a"
        phrase = f"{article} {phrase}"
    scene = choose(SCENES[content.scene]) if chance() < 0.95 else ""
    timeless = content.scene in TIMELESS
    time = choose(TIMES[content.time]) if not timeless and chance() < (0.25 if content.time == "day" else 0.93) else ""
    place = choose(PLACES[content.place]) if chance() < (0.08 if content.place == "middle" else 0.85) else ""
    details = [part for part in (scene, time, place) if part]
    if chance() < 0.25:
        random_source.shuffle(details)
    return decorate(phrase, details, random_source)


def decorate(phrase: str, details: list[str], random_source: random.Random) -> str:
    """Joins the parts of a caption with the odds and ends people write around them."""
    chance, choose = random_source.random, random_source.choice
    if chance() < 0.2:
        phrase = f"{choose(PREFIXES)} {phrase}"
    separator = ", " if chance() < 0.2 else " "
    if details and chance() < 0.1:
        text = f"{details[0]}, {separator.join([phrase, *details[1:]])}"
    else:
        text = separator.join([phrase, *details])
    if chance() < 0.12:
        text = f"{text}, {choose(FILLERS)}"
    return text + "." if chance() < 0.1 else text
