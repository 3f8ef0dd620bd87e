"""What the pages of docs/cases work on, made up and small: data, models of the hub with random weights, people."""

from __future__ import annotations

import csv
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image
from safetensors.torch import load_file, save_file

from nextlabel.backend.stack import Annotator
from nextlabel.backend.stack.backend import BackendProcess
from tests.backend.frozen.conftest import classifier
from tests.backend.tiny_bert import letters, tiny_bert

FILLERS = ("la", "el", "y", "que", "en", "no", "muy", "ayer", "esta", "siempre")
SAID = {
    "not misogynous": ("hoy", "llueve", "partido"),
    "stereotype": ("cocina", "lloran", "nervios"),
    "dominance": ("manda", "obedece", "jefe"),
    "derailing": ("excusa", "provoca", "culpa"),
    "sexual harassment": ("ven", "cama", "foto"),
    "discredit": ("tonta", "inepta", "calla"),
}
HATE = ("they should all go", "none of them is welcome", "what they are is filth")
TALK = ("the weather was fine", "see you on the board", "the game is on tonight", "good point about the news")
BOOKS = ("I just finished the novel {}", "{} is the best paperback of the year", "chapter two of {} says the same")
TITLES = ("Nine Winters", "Salt and Iron", "The Silent Harbour")
POLITE, RUDE = (
    ("thank you so much, could you please look", "sorry to ask, would you mind"),
    ("stop that", "why did you"),
)
PEOPLE = 6


def tweets(folder: Path) -> None:
    """Two of three have a label."""
    rows = []
    for number in range(120):
        dice, label = random.Random(number), list(SAID)[0 if number % 2 else number // 2 % len(SAID)]
        words = [*dice.choices(SAID[label], k=2), *dice.choices(FILLERS, k=4), f"n{number}"]
        rows.append((number, " ".join(dice.sample(words, len(words))), label))
    table(folder / "tweets.csv", ("id", "text"), (row[:2] for row in rows))
    table(folder / "labelled.csv", ("id", "text", "label"), rows[:80])


def memes(folder: Path) -> None:
    """Red ones that are about night, and others; two of three have a label."""
    (folder / "memes").mkdir()
    rows = []
    for number in range(60):
        colour, words = ("blue", "red")[number % 2], ("noon", "midnight")[number // 2 % 2]
        Image.new("RGB", (40, 30), colour).save(folder / "memes" / f"{number}.png")
        label = "misogynous" if colour == "red" and words == "midnight" else "not misogynous"
        rows.append((number, f"memes/{number}.png", f"{words} again, {number} {colour[0]}", label))
    table(folder / "memes.csv", ("id", "file", "words"), (row[:3] for row in rows))
    table(folder / "labelled.csv", ("id", "file", "words", "label"), rows[:40])


def posts(folder: Path) -> None:
    """Of eight writers; every fifth has no label."""
    rows = []
    for number in range(90):
        hateful = number % 3 == 0
        text = f"{(HATE if hateful else TALK)[number % 3]}, I say, for the {number}th time"
        label = "" if number % 5 == 4 else ("hate" if hateful else "noHate")
        rows.append((number, text, label, number % 8, "test" if number % 4 == 0 else "train"))
    table(folder / "posts.csv", ("number", "text", "label", "user_id", "part"), rows)


def comments(folder: Path) -> None:
    """One of twenty names a book; and a model that takes every word for a work of art."""
    texts = [f"{TALK[number % 4]}, post {number}" for number in range(160)]
    for number in range(0, 160, 20):
        texts[number] = BOOKS[number // 20 % 3].format(TITLES[number // 20 % 2]) + f", post {number}"
    table(folder / "comments.csv", ("text",), ([text] for text in texts))
    model = classifier(folder, "BertForTokenClassification", ("O", "B-WORK_OF_ART", "I-WORK_OF_ART"))
    model = model.rename(folder / "ontonotes-ner")
    weights = load_file(model / "model.safetensors")
    weights["classifier.bias"][1] = 100
    save_file(weights, model / "model.safetensors", {"format": "pt"})


def votes(folder: Path) -> None:
    """Three people answered each request but for the last ten; some answers are wrong."""
    rows = []
    for number in range(60):
        text = f"{(POLITE if number % 2 else RUDE)[number // 2 % 2]} at my question {number}"
        each = range(3 if number < 50 else 0)
        said = {(number + one) % PEOPLE: number % 2 ^ (number % 7 == 3 * one) for one in each}
        rows.append((f"r{number}", text, *(int(said[who]) if who in said else "" for who in range(PEOPLE))))
    table(folder / "votes.csv", ("id", "text", *(f"a{who + 1}" for who in range(PEOPLE))), rows)


def table(file: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])


MADE: dict[str, Callable[[Path], None]] = {
    "misogyny-es": tweets, "memes": memes, "hate-speech": posts, "rare-class": comments, "politeness": votes,
}  # fmt: skip


def truth(data: dict[str, Any], labels: set[str]) -> str:
    """Which of ``labels`` is right for a record."""
    text = str(data.get("text") or data.get("words"))
    if "dominance" in labels:
        return next(label for label, words in SAID.items() if set(words) & set(text.split()))
    right = {
        "misogynous" if "midnight" in text and text.endswith("r") else "not misogynous",
        "hate" if text.startswith(HATE) else "noHate",
        "book" if any(title in text for title in TITLES) else "other",
        "polite" if text.startswith(POLITE) else "impolite",
    }
    return (right & labels).pop()


def people(service: BackendProcess, count: int) -> None:
    """Answer so many records, as they are served."""
    before = service.status()
    project = before["project"]["id"]
    with Annotator(service.server.url, service.server.token, project) as person:
        config = ElementTree.fromstring(person.ask("GET", f"/api/projects/{project}")["label_config"])
        control = next(one for one in config.iter() if "toName" in one.attrib)
        labels = {one.attrib["value"] for one in control}
        region = {"from_name": control.attrib["name"], "to_name": control.attrib["toName"], "type": control.tag.lower()}
        for _ in range(count):
            task = person.next_task()
            assert task is not None
            if control.tag == "Choices":
                values = [{"choices": [truth(task["data"], labels)]}]
            else:
                text = task["data"]["text"]
                marked = [(text.index(title), len(title)) for title in TITLES if title in text]
                values = [{"start": at, "end": at + length, "labels": ["title"]} for at, length in marked]
            person.submit(task, [{**region, "value": value} for value in values])
    # Answers, and not records: some may be asked about again.
    service.wait(lambda status: status["log_head"] >= before["log_head"] + count, "the answers")


def hub(home: Path, clip: Path) -> Path:
    """A cache of the Hugging Face hub with the models that the pages name, each tiny; the folder for HF_HOME."""
    spanish = (*FILLERS, *(word for one in SAID.values() for word in one))
    tiny_bert(in_hub(home, "dccuchile/bert-base-spanish-wwm-cased"), words=spanish, spread=0.2)
    tiny_bert(
        in_hub(home, "bert-base-uncased"), words=letters("abcdefghijklmnopqrstuvwxyz,"), positions=140, spread=0.2
    )
    shutil.copytree(clip, in_hub(home, "openai/clip-vit-base-patch32"))
    return home


def in_hub(home: Path, name: str) -> Path:
    """The folder of the model ``name`` in a cache in ``home``, where the hub's client looks for it."""
    place, commit = home / "hub" / f"models--{name.replace('/', '--')}", "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    return place / "snapshots" / commit
