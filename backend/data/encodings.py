"""How a text file is encoded: found in its bytes, or said; and told where it is not plain UTF-8."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import IO, Final, TextIO

from .rows import first_few

BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LATIN: Final = ["cp1252", "cp1250"]
_OTHERS: Final = ["cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp932", "euc_jp", "gb18030", "big5", "cp949"]
_NAMES: Final = {"cp1252": "Windows-1252 (Latin-1)", "cp932": "Shift-JIS", "cp949": "Korean (cp949)"}
_SAMPLE: Final = 1 << 16
_CHUNK: Final = 1 << 20
_WORD: Final = re.compile(rb"[A-Za-z\x80-\xff]*[\x80-\xff][A-Za-z\x80-\xff]*")


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding as Python calls it, and a remark for people where there is something to know."""

    name: str
    remark: str = ""

    @property
    def unicode(self) -> bool:
        """Whether it is UTF-8, UTF-16 or UTF-32."""
        return self.name.startswith("utf")


@dataclass
class _Survey:
    """What speaks for UTF-8 and against it: characters beyond ASCII, sequences that are none, and their lines."""

    characters: int = 0
    broken: int = 0
    lines: list[int] = field(default_factory=list)
    sample: bytearray = field(default_factory=bytearray)
    nulls: int = 0

    def see(self, number: int, line: bytes) -> None:
        if line.isascii() and b"\0" not in line:
            return
        if len(self.sample) < _SAMPLE:
            self.sample += line[:_SAMPLE]
            self.nulls += line[:_SAMPLE].count(b"\0")
        text = line.decode("utf-8", "replace")
        broken = 0 if "\ufffd" not in text else text.count("\ufffd") - line.count(b"\xef\xbf\xbd")
        self.characters += sum(character > "\x7f" for character in text) - broken
        if broken:
            self.broken += broken
            self.lines.append(number)


def encoding_of(opened: Callable[[], IO[bytes]], said: str | None = None) -> Encoding:
    """What the bytes are encoded in: what is ``said``, if anything is.

    A byte order mark decides. Else it is UTF-8, unless more sequences are none than are: a broken one costs one
    character, and its line is named. What is left is told by charset-normalizer.
    """
    with opened() as file:
        start = file.read(4)
    marked = next((name for mark, name in BOMS if start.startswith(mark)), "")
    if said is not None:
        return _as_said(opened, codecs.lookup(said).name, marked)
    if marked:
        return Encoding(marked)
    if not _has_zeros(opened) and _decodes(opened, "utf-8"):
        return Encoding("utf-8")
    survey = _Survey()
    with opened() as file:
        for number, line in enumerate(file, start=1):
            survey.see(number, line)
    if survey.nulls > len(survey.sample) / 5:
        return _guess(bytes(survey.sample), ["utf_16_le", "utf_16_be"])
    if survey.broken > survey.characters:
        return _guess(bytes(survey.sample), _LATIN if _looks_latin(bytes(survey.sample)) else _OTHERS)
    return Encoding("utf-8", _broken(survey.broken, survey.lines, "UTF-8") if survey.broken else "")


def _as_said(opened: Callable[[], IO[bytes]], name: str, marked: str) -> Encoding:
    """The encoding ``name``, with a remark on lines that aren't in it. A byte order mark is no part of the text."""
    encoding = Encoding(marked if marked and name.startswith(marked.removesuffix("-sig")) else name)
    if _decodes(opened, encoding.name):
        return encoding
    with decoded(opened, encoding) as lines:
        counts = {number: line.count("\ufffd") for number, line in enumerate(lines, start=1) if "\ufffd" in line}
    return replace(encoding, remark=_broken(sum(counts.values()), list(counts), name.upper()))


def _has_zeros(opened: Callable[[], IO[bytes]]) -> bool:
    """Whether it begins with so many zeros as UTF-16 of plain letters does."""
    with opened() as file:
        chunk = file.read(_CHUNK)
    return chunk.count(b"\0") > len(chunk) / 5


def _decodes(opened: Callable[[], IO[bytes]], name: str) -> bool:
    """Whether all of it is text in the encoding ``name``."""
    decoder = codecs.getincrementaldecoder(name)()
    with opened() as file:
        try:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
    return True


def _broken(count: int, lines: list[int], encoding: str) -> str:
    plural = "s" if count > 1 else ""
    return f"{count:,} character{plural} not in {encoding}, replaced by U+FFFD (line {first_few(lines)})"


def _looks_latin(sample: bytes) -> bool:
    """Whether most letters of words with letters beyond ASCII are ASCII. Where those stand, every code has letters."""
    words = b"".join(_WORD.findall(sample))
    beyond = sum(byte >= 0xC0 for byte in words)
    return beyond <= sum(byte < 0x80 for byte in words) or beyond == 0


def _guess(sample: bytes, among: list[str]) -> Encoding:
    """The likeliest encoding of a ``sample``; the first ``among`` them, if nothing speaks for another."""
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=among).best()
    name = among[0]
    if best is not None and name not in best.could_be_from_charset:
        # Few bytes fit Windows-1250 as well as 1252: only known words speak for it.
        name = best.encoding if among is not _LATIN or best.coherence > 0 else name
    shown = _NAMES.get(name, name.replace("cp12", "Windows-12").replace("_", "-").upper().replace("WINDOWS", "Windows"))
    return Encoding(name.replace("_", "-") if name.startswith("utf") else name, f"not UTF-8: read as {shown}")


def decoded(opened: Callable[[], IO[bytes]], encoding: Encoding) -> TextIO:
    """The text, its lines with their ends, as the ``csv`` module wants them; what can't be decoded is U+FFFD."""
    return io.TextIOWrapper(opened(), encoding.name, "replace", newline="")
