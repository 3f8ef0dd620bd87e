"""The database is dropped under the running service: it stops and says so, like one whose file was deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from nextlabel.backend.stack import LabelStudioServer
from nextlabel.backend.stack.backend import BackendProcess


def test_a_database_that_is_dropped_ends_the_service(
    label_studio: LabelStudioServer, postgresql: Callable[[], str], tmp_path: Path
) -> None:
    address = postgresql()
    (tmp_path / "data.csv").write_text("text\n" + "\n".join(f"text {number}" for number in range(20)))
    recipe = tmp_path / "dropped.yaml"
    recipe.write_text("data: data.csv\nfields: text\nlabels: [good, bad]\nencoder: hashing\n")
    product = BackendProcess(str(recipe), label_studio, tmp_path / "home", env={"NEXTLABEL_STORE": address})
    product.start()
    try:
        product.wait_ready()
        process = product._process
        assert process is not None
        url = sa.make_url(address)
        engine = sa.create_engine(url.set(database="first"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as server:
            server.exec_driver_sql(f"DROP DATABASE {url.database} WITH (FORCE)")
        began = time.monotonic()
        assert process.wait(60) == 1
        print(f"ended after {time.monotonic() - began:.1f} s")
    finally:
        product.stop()
    last = product.log.read_text().splitlines()[-1]
    assert "was deleted while it was in use" in last
    assert str(url.password) not in product.log.read_text()
