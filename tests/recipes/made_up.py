"""Small data sets in the layout of the published ones. Nothing in them is anybody's; the last digit tells the label."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from PIL import Image

ANSWERS = {
    "hate_speech": ("noHate", "hate"),
    "misogyny_es": ("non-misogynous", "dominance"),
    "memes": ("not misogynous", "misogynous"),
    "politeness": ("impolite", "polite"),
    "rare_class": ("other", "book"),
}
"""By the recipe's module: the label of texts that end with 0, and with 1."""

PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAP8AAAAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="


def text(number: int) -> str:
    """The text of row ``number``: every other one is of the second label."""
    return f"una línea ñ {'enojada' if number % 2 else 'amable'} 😀 {number} {number % 2}"


def asked(module: str) -> dict[str, str]:
    """A record to be predicted."""
    return {"text": text(1), **({"image": PICTURE} if module == "memes" else {})}


def write(path: Path, rows: list[list[str]], delimiter: str = ",") -> Path:
    """A table; the first row names the columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def comments(folder: Path, count: int) -> Path:
    """A plain table."""
    rows = [[text(number), ANSWERS["rare_class"][number % 2]] for number in range(count)]
    return write(folder / "comments.csv", [["text", "label"], *rows])


def vicomtech(folder: Path, count: int) -> Path:
    """The repository's layout: ``count`` sentences by four writers, and one each of relation and idk/skip."""
    labels = [ANSWERS["hate_speech"][number % 2] for number in range(count)] + ["relation", "idk/skip"]
    rows = [[f"7_{n}", str(500 + n % 4), "1346", "0", label] for n, label in enumerate(labels)]
    write(folder / "annotations_metadata.csv", [["file_id", "user_id", "subforum_id", "num_contexts", "label"], *rows])
    for split in ("all_files", "sampled_train", "sampled_test"):
        (folder / split).mkdir()
    for number in range(len(labels)):
        (folder / "all_files" / f"7_{number}.txt").write_text(text(number) + "\n", encoding="utf-8")
    for split, number in (("sampled_train", 0), ("sampled_test", 1)):
        (folder / split / f"7_{number}.txt").write_text(text(number), encoding="utf-8")
    return folder


def ami(folder: Path, count: int) -> Path:
    """The table of IberEval's training data."""
    rows = [
        [str(n), text(n), *(("1", "dominance", "active") if n % 2 else ("0", "0", "0"))] for n in range(1, count + 1)
    ]
    header = ["id", "text", "misogynous", "misogyny_category", "target"]
    return write(folder / "es_AMI_TrainingSet_NEW.csv", [header, *rows], ";")


def hatecheck(folder: Path, count: int) -> Path:
    """The table of Spanish cases."""
    header = ["mhc_case_id", "functionality", "test_case", "label_gold", "target_ident", "templ_id"]
    rows = [
        [f"spanish-{n}", "x_h" if n % 2 else "x_nh", text(n), "hateful" if n % 2 else "non-hateful", "", str(n // 2)]
        for n in range(count)
    ]
    return write(folder / "hatecheck_cases_final_spanish.csv", [header, *rows])


def mami(folder: Path, count: int) -> Path:
    """Memes of one colour, and their table."""
    flags = ["misogynous", "shaming", "stereotype", "objectification", "violence"]
    rows = [[f"{n}.jpg", *(["1", "0", "1", "0", "0"] if n % 2 else ["0"] * 5), text(n)] for n in range(count)]
    write(folder / "training.csv", [["file_name", *flags, "Text Transcription"], *rows], "\t")
    for number in range(count):
        Image.new("RGB", (600, 800), (number * 9 % 256, 40, 200)).save(folder / f"{number}.jpg")
    return folder


def politeness(folder: Path, count: int) -> Path:
    """Half of the requests in each table; all have three answers in the end, of which the third may be wrong."""
    half = count // 2
    rows = [[f"p{n}", text(n), str(n % 2), f"{n % 2}.0", ""] for n in range(half)]
    write(folder / "X_labeled_full.csv", [["id", "text", "a1", "a2", "a3"], *rows])
    write(folder / "X_unlabeled.csv", [["id", "text"], *([f"p{n}", text(n)] for n in range(half, count))])
    later = [
        {"id": f"p{n}", "annotations": {"a3": int(n % 5 > 0)} | ({} if n < half else {"a1": n % 2, "a2": n % 2})}
        for n in range(count)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in later)
    (folder / "extra_annotations.jsonl").write_text(lines, encoding="utf-8")
    return folder
