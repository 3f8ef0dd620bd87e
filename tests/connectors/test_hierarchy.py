"""Labels as places in a tree: what is one, what stands where, and what is refused."""

from __future__ import annotations

import pytest

from nextlabel.connectors.argilla.config import Form as ArgillaForm
from nextlabel.connectors.argilla.giving import write_response
from nextlabel.connectors.argilla.payloads import write_suggestion
from nextlabel.connectors.errors import LabelingMismatch
from nextlabel.connectors.hierarchy import Hierarchy, chosen
from nextlabel.connectors.label_studio.config import IN_SIGHT, read_config, write_config
from nextlabel.connectors.label_studio.payloads import prediction_from, read_result, write_result
from nextlabel.connectors.records import GivenAnswer, Labeling, LabelKind, Suggestion

LABELS = ("none", "a > x > 1", "a > x > 2", "a > y", "b > x")
ASKED = Labeling(LabelKind.SINGLE, LABELS, descriptions={"a > y": "why"})
PARENT = Suggestion(("a > x",), 0.8, "m", leaf=("a > x > 2", 0.4))


def test_the_tree_of_some_labels() -> None:
    tree = Hierarchy.of(LABELS)
    assert tree.parents == ("a", "a > x", "b")  # "x" stands under two of them
    assert (tree.depth, tree.children(), tree.children("a")) == (3, ["none", "a", "b"], ["a > x", "a > y"])
    assert (tree.within("a"), tree.within("a > x"), tree.within("none")) == ([1, 2, 3], [1, 2], [0])
    assert (tree.at(1), tree.at(2)) == (["none", "a", "b"], ["none", "a > x", "a > y", "b > x"])


@pytest.mark.parametrize("labels", [(">50K", "<=50K"), ("a->b", "a>c"), ("> 5", "5 >"), ("plain", "other")])
def test_other_labels_stand_side_by_side(labels: tuple[str, ...]) -> None:
    assert Hierarchy.of(labels).parents == ()
    assert "<Choices" in write_config(Labeling(LabelKind.SINGLE, labels))


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (("a", "a > x"), "'a' is a label and also the parent of 'a > x'.*like 'a > other'"),
        (("a > x", "a > x > 1"), "'a > x' is a label and also the parent"),
        ((" > x", "b"), "has an empty part"),
        (("a > ", "b"), "has an empty part"),
        (("a >  > x", "b"), "has an empty part"),
        (("a > > x", "b"), "one '>' at a time"),
        (("a  > x", "b"), "one space on each side"),
    ],
)
def test_paths_that_make_no_tree_are_refused(labels: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Labeling(LabelKind.SINGLE, labels)


LARGE = tuple(f"{place} > {number}" for place in ("a", "b") for number in range(12))


def test_label_studio_shows_a_small_tree_whole_and_reads_it_back() -> None:
    xml = write_config(ASKED)
    form = read_config(xml)
    assert form.labeling == ASKED
    assert form.asks is IN_SIGHT
    assert '<Choice value="a"><Choice value="x"><Choice value="1" /><Choice value="2" /></Choice>' in xml
    for value in (("a > x > 1",), ("a",), ("a > x",), ("none",), ("b > x",)):
        assert read_result(form, write_result(form, value)) == value
    # As the page ticks them: all below a parent, and a parent all below which is ticked.
    assert write_result(form, ("a > y",))[0]["value"] == {"choices": [["a", "y"]]}
    assert prediction_from(ASKED, PARENT)["result"][0]["value"] == {
        "choices": [["a", "x"], ["a", "x", "1"], ["a", "x", "2"]]
    }
    assert write_result(form, ("b > x",))[0]["value"] == {"choices": [["b"], ["b", "x"]]}


@pytest.mark.parametrize(
    ("ticked", "several", "says"),
    [
        (["a > x > 1"], False, ("a > x > 1",)),
        (["b", "b > x"], False, ("b > x",)),  # a parent of one label is no other answer than that label
        (["a > x", "a > x > 1", "a > x > 2"], False, ("a > x",)),
        (["a", "a > x", "a > x > 1", "a > x > 2", "a > y"], False, ("a",)),
        (["c", "c > x", "c > x > 1", "c > x > 2"], False, ("c > x",)),
        (["a"], False, ("a",)),  # as another program may write it
        (["a > x > 1", "a > y"], False, ("a > x > 1", "a > y")),
        (["a > x", "a > x > 1", "a > x > 2"], True, ("a > x > 1", "a > x > 2")),
        ([], True, ()),
    ],
)
def test_what_was_chosen_of_what_is_ticked(ticked: list[str], several: bool, says: tuple[str, ...]) -> None:
    assert chosen(ticked, several=several) == says


def test_nested_choices_that_people_made_are_learned() -> None:
    form = read_config(
        '<View><Text name="x" value="$text"/><Choices name="c" toName="x" choice="multiple" allowNested="true">'
        '<Choice value="A" alias="a"><Choice value="1"/><Choice value="2"/></Choice><Choice value="b"/>'
        "</Choices></View>"
    )
    assert (form.labeling.kind, form.labeling.labels) == (LabelKind.MULTI, ("a > 1", "a > 2", "b"))
    region = {"from_name": "c", "value": {"choices": [["a"], ["a", "1"], ["a", "2"], ["b"]]}}
    assert read_result(form, [region]) == ("a > 1", "a > 2", "b")
    assert write_result(form, ("a > 1", "a > 2"))[0]["value"] == {"choices": [["a"], ["a", "1"], ["a", "2"]]}
    # From before the choices stood in one another.
    assert read_result(form, [{"from_name": "c", "value": {"choices": ["b"]}}]) == ("b",)


@pytest.mark.parametrize(("kind", "labels"), [(LabelKind.SINGLE, LARGE), (LabelKind.MULTI, LABELS)])
def test_label_studio_asks_with_a_taxonomy_and_reads_it_back(kind: LabelKind, labels: tuple[str, ...]) -> None:
    asked = Labeling(kind, labels, descriptions={labels[1]: "why"})
    xml = write_config(asked)
    form = read_config(xml)
    assert form.labeling == asked
    assert (form.tag, form.asks.kind) == ("Taxonomy", kind)
    for value in ((labels[1],), ("a",)):
        assert read_result(form, write_result(form, value)) == value
    assert write_result(form, (labels[1],))[0]["value"] == {"taxonomy": [labels[1].split(" > ")]}
    shown = Suggestion(("a",), 0.8, "m", leaf=(labels[1], 0.4))
    assert prediction_from(asked, shown)["result"][0]["value"] == {"taxonomy": [["a"]]}


def test_of_two_parts_called_alike_none_is_lost() -> None:
    form = read_config(write_config(Labeling(LabelKind.SINGLE, ("a > a", "b"))))
    assert read_result(form, write_result(form, ("a > a",))) == ("a > a",)


@pytest.mark.parametrize(
    ("taxonomy", "says"),
    [
        ('<Taxonomy name="t" toName="x" apiUrl="http://one/tree"/>', "labels that are not in the labeling config"),
        ('<Taxonomy name="t" toName="x" value="$tree"/>', "other labels in each task"),
        ('<Taxonomy name="t" toName="x"><Choice value="a > b"/><Choice value="c"/></Taxonomy>', "a label holds ' > '"),
    ],
)
def test_trees_that_cannot_be_learned_are_refused(taxonomy: str, says: str) -> None:
    with pytest.raises(LabelingMismatch, match=says):
        read_config(f'<View><Text name="x" value="$text"/>{taxonomy}</View>')


def test_where_labels_stand_side_by_side_a_parent_is_shown_as_its_likeliest_label() -> None:
    flat = read_config(
        '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
        + "".join(f'<Choice value="{label.replace(">", "&gt;")}"/>' for label in LABELS)
        + "</Choices></View>"
    )
    assert flat.labeling.labels == LABELS
    shown = prediction_from(flat.labeling, PARENT, flat)
    assert (shown["result"][0]["value"], shown["score"]) == ({"choices": ["a > x > 2"]}, 0.4)
    argilla = ArgillaForm(ASKED, "label", "q")
    found = write_suggestion(argilla, PARENT)
    assert found is not None
    assert (found["value"], found["score"]) == ("a > x > 2", 0.4)
    with pytest.raises(LabelingMismatch, match="'a' is a parent of labels"):
        write_response(argilla, GivenAnswer("k", "r", "u", ("a",)), {"text": "t"})


def test_cold_start_reads_the_whole_path() -> None:
    assert ASKED.describe("a > x > 1") == "a, x, 1"
