"""What runs the pages of the documentation notices what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from nextlabel.backend.stack.server import PlatformServer
from tests.pages import Reader, missing, steps

PAGE = """\
# A page

```yaml
# made.yaml
name: made
```

```
export WHO=world
cat made.yaml
echo hello \\
  $WHO
```

```text
name: made
...
hello wor...
```

<!-- people label 3 -->
"""


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    server = SimpleNamespace(url="http://127.0.0.1:8", token="a-key", platform="label-studio")
    return Reader(tmp_path, cast(PlatformServer, server), tmp_path)


def test_a_page_is_done_step_by_step(reader: Reader, tmp_path: Path) -> None:
    asked: list[int] = []
    reader.people = lambda service, count: asked.append(count)
    reader.read(PAGE)
    assert reader.output.endswith("hello world\n")
    assert (tmp_path / "made.yaml").read_text() == "# made.yaml\nname: made\n"
    assert asked == [3]


@pytest.mark.parametrize(("good", "bad"), [("cat made", "cat mode"), ("hello wor", "goodbye")])
def test_a_page_that_is_wrong_is_found_out(reader: Reader, good: str, bad: str) -> None:
    assert good in PAGE
    reader.people = lambda service, count: None
    with pytest.raises(AssertionError):
        reader.read(PAGE.replace(good, bad))


def test_what_is_shown_stands_in_this_order() -> None:
    assert missing("one\n...\nthree 3", "zero\n one\ntwo\nthree   3\n") == ""
    assert missing("three\none", "one\ntwo\nthree\n") == "one"
    assert missing("f... of n", "three\nfour of  nine\n") == ""
    assert missing("f... of n", "f\nour of nine\n") == "f... of n", "what ... stands for is in one line"


def test_blocks_of_other_kinds_are_refused() -> None:
    for page in ("```yaml\nname: nowhere\n```\n", "```console\n$ nextlabel\n```\n"):
        with pytest.raises(AssertionError):
            list(steps(page))


def test_addresses_and_keys_are_put_in(reader: Reader) -> None:
    line = reader.filled_in("export LABEL_STUDIO_URL=http://localhost:8080 LABEL_STUDIO_API_KEY=...")
    assert line == "export LABEL_STUDIO_URL=http://127.0.0.1:8 LABEL_STUDIO_API_KEY=a-key"
    assert f":{reader.service.port}/api" in reader.filled_in("curl http://localhost:9090/api/predict")
