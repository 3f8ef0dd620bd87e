"""Pipelines of scikit-learn and spaCy as suggesters."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.backend.suggesters.classifiers import of_skops, of_spacy
from nextlabel.connectors.errors import ConfigError

TEXTS = ["good fine nice", "bad awful sad", "good nice day", "sad bad day"]
CLASSES = ["+", "-", "+", "-"]


class OfOurs:
    """A step that nobody else knows."""

    def fit(self, x: object, y: object = None) -> OfOurs:
        return self

    def transform(self, x: object) -> object:
        return x


def pipeline(*steps: object, classifier: object = None) -> object:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(*steps, TfidfVectorizer(), classifier or LogisticRegression()).fit(TEXTS, CLASSES)


def test_a_pipeline_saved_with_skops_says_how_likely_its_labels_are(tmp_path: Path) -> None:
    from skops.io import dump

    dump(pipeline(), tmp_path / "model.skops")
    say, labels = of_skops(str(tmp_path / "model.skops"), ())
    assert labels == ("+", "-")
    first, second = say(["nice and good", "how awful"])
    assert sum(first.probabilities.values()) == pytest.approx(1)
    assert first.probabilities["+"] > 0.5 > second.probabilities["+"]


def test_one_without_probabilities_says_labels(tmp_path: Path) -> None:
    from sklearn.svm import LinearSVC
    from skops.io import dump

    dump(pipeline(classifier=LinearSVC()), tmp_path / "model.skops")
    say, _ = of_skops(str(tmp_path / "model.skops"), ())
    assert dict(say(["nice and good"])[0].probabilities) == {"+": 0.7}


def test_types_that_nobody_vouches_for_are_refused_by_name(tmp_path: Path) -> None:
    from skops.io import dump

    dump(pipeline(OfOurs()), tmp_path / "model.skops")
    with pytest.raises(ConfigError, match=r"not known to be harmless: '.*OfOurs'.*trusted: \[.*OfOurs\]") as refused:
        of_skops(str(tmp_path / "model.skops"), ())
    named = str(refused.value).rpartition("trusted: [")[2].rstrip("]")
    say, _ = of_skops(str(tmp_path / "model.skops"), [named])
    assert say(["good"])[0].probabilities["+"] > 0.5


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="can't be read as a file of skops"):
        of_skops(str(tmp_path / "model.skops"), ())


def test_entities_and_categories_of_a_spacy_pipeline(tmp_path: Path) -> None:
    import spacy

    nlp = spacy.blank("en")
    ner, textcat = nlp.add_pipe("ner"), nlp.add_pipe("textcat")
    for label in ("WORK_OF_ART", "PERSON"):
        ner.add_label(label)
    for label in ("+", "-"):
        textcat.add_label(label)
    nlp.initialize()
    nlp.to_disk(tmp_path / "pipeline")
    say, labels = of_spacy(str(tmp_path / "pipeline"))
    assert set(labels) == {"WORK_OF_ART", "PERSON", "+", "-"}
    (one,) = say(["Mona Lisa smiles"])
    assert set(one.probabilities) == {"+", "-"}
    assert sum(one.probabilities.values()) == pytest.approx(1)
    doc = nlp("Mona Lisa smiles")
    assert [(mark.start, mark.end, mark.label) for mark in one.marks] == [
        (ent.start_char, ent.end_char, ent.label_) for ent in doc.ents
    ]


def test_marks_of_rules_and_a_pipeline_that_says_nothing(tmp_path: Path) -> None:
    import spacy

    spacy.blank("en").to_disk(tmp_path / "empty")
    with pytest.raises(ConfigError, match="has no parts, and none of 'ner'"):
        of_spacy(str(tmp_path / "empty"))
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "ART", "pattern": "Mona Lisa"}])
    nlp.to_disk(tmp_path / "rules")
    say, labels = of_spacy(str(tmp_path / "rules"))
    assert labels == ("ART",)
    assert [(mark.start, mark.end, mark.label) for mark in say(["The Mona Lisa"])[0].marks] == [(4, 13, "ART")]
