"""The final cases of Multilingual HateCheck."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextlabel.connectors.errors import DataError
from nextlabel.recipes.formats.misogyny_es import address, open_hatecheck
from tests.recipes import made_up


def test_the_table_and_the_folder_that_holds_it(tmp_path: Path) -> None:
    path = made_up.hatecheck(tmp_path, 3)
    rows = list(open_hatecheck(str(path)).rows)
    assert rows == list(open_hatecheck(str(tmp_path)).rows)
    assert rows[2].values["test_case"] == made_up.text(2)
    assert [row.values["label_gold"] for row in rows] == ["non-hateful", "hateful", "non-hateful"]


def test_wrong_tables_are_told(tmp_path: Path) -> None:
    path = made_up.hatecheck(tmp_path, 2)
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace(",hateful", ",hostile"), encoding="utf-8")
    with pytest.raises(DataError, match=":3: label_gold is 'hostile'"):
        list(open_hatecheck(str(path)).rows)
    path.write_text(good.replace("templ_id", "template"), encoding="utf-8")
    with pytest.raises(DataError, match="no column 'templ_id'"):
        open_hatecheck(str(path))
    with pytest.raises(DataError, match="there is no such file"):
        open_hatecheck(str(tmp_path / "none.csv"))


def test_the_address_has_no_blanks() -> None:
    assert address("spanish").endswith("/MHC%20Final%20Cases/hatecheck_cases_final_spanish.csv")
