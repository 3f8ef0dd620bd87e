"""Several processes at one embedding cache, killed ones and one without space on the disk."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nextlabel.backend.encoders.cache import EmbeddingCache
from tests.backend.caches import HASHING, Counting, assert_right

pytestmark = pytest.mark.usefixtures("fresh_lookups")


def child(code: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """Another Python process on the same cache."""
    head = "import sys\nfrom nextlabel.backend.encoders.cache import EmbeddingCache\n"
    head += "from nextlabel.backend.encoders.load import load_encoder\n"
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_readers_see_what_another_process_adds(tmp_path: Path) -> None:
    reader = EmbeddingCache.open(tmp_path, HASHING)
    assert reader.lookup(["new text"]).tolist() == [-1]
    with child(
        "e = load_encoder('hashing'); EmbeddingCache.open(sys.argv[1], e).ensure(['new text'], e)", tmp_path
    ) as process:
        assert process.wait(60) == 0
    assert reader.lookup(["new text"]).tolist() == [0]
    assert_right(reader, ["new text"], np.array([0]))


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    code = """
        from nextlabel.backend.encoders import cache as module
        module.CHUNK_SECONDS = 0.0  # flush every 32 texts
        encoder = load_encoder("hashing")
        count = 0
        class Counting:
            name, fingerprint, dimension = encoder.name, encoder.fingerprint, encoder.dimension
            def encode(self, texts):
                global count
                count += len(texts)
                return encoder.encode(texts)
        texts = [f"text {i}" for i in range(3000)]
        cache = EmbeddingCache.open(sys.argv[1], Counting())
        print("ready", flush=True)
        sys.stdin.readline()
        rows = cache.ensure(texts, Counting())
        assert len(set(rows.tolist())) == 3000
        print(count)
    """
    processes = [child(code, str(tmp_path), stdin=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        answers.append(int(out))
    assert sum(answers) == 3000, "every text is encoded by one of them"
    cache = EmbeddingCache.open(tmp_path, HASHING)
    texts = [f"text {i}" for i in range(3000)]
    assert len(cache) == 3000
    assert_right(cache, texts, cache.lookup(texts))


@pytest.mark.parametrize("lines", [1, 4, 9])
def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path: Path, lines: int) -> None:
    code = """
        from nextlabel.backend.encoders import cache as module
        module.CHUNK_SECONDS = 0.0
        e = load_encoder("hashing")
        texts = [f"text {i}" for i in range(20_000)]
        EmbeddingCache.open(sys.argv[1], e).ensure(texts, e, lambda done, total: print(done, flush=True))
    """
    process = child(code, str(tmp_path))
    assert process.stdout is not None
    reported = [int(line) for line in itertools.islice(process.stdout, lines)]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was still at work"

    texts = [f"text {i}" for i in range(20_000)]
    encoder = Counting()
    cache = EmbeddingCache.open(tmp_path, encoder)
    kept = len(cache)
    assert reported[-1] <= kept < 20_000, "all that was reported is there"
    assert_right(cache, texts, cache.ensure(texts, encoder))
    assert len(encoder.encoded) == 20_000 - kept


def test_a_full_disk_is_said_and_harms_nothing(tmp_path: Path) -> None:
    code = """
        import resource
        from nextlabel.connectors.errors import StoreFull
        e = load_encoder("hashing")
        cache = EmbeddingCache.open(sys.argv[1], e)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            cache.ensure([f"text {i}" for i in range(1000)], e)
        except StoreFull as error:
            print(error)
        assert len(cache) == cache.lookup([f"text {i}" for i in range(1000)]).max() + 1
    """
    process = child(code, str(tmp_path))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "no space is left" in out
    assert "Free some space" in out
    encoder = Counting()
    cache = EmbeddingCache.open(tmp_path, encoder)
    kept = len(cache)
    assert 0 < kept < 1000
    texts = [f"text {i}" for i in range(1000)]
    assert_right(cache, texts, cache.ensure(texts, encoder))
    assert len(encoder.encoded) == 1000 - kept
