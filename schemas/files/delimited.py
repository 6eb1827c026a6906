"""Delimited text, as programs and people really save it: which encoding, which delimiter, which
records.

Belongs here: bytes to records of cells and back, and the guard against cells that a spreadsheet
would run as formulas. Does not: what a header must look like, cleaning of cells
(`source.py`).

Nothing is guessed that could go wrong silently: an encoding or a quotation mark that leaves a
doubt refuses the file, and says what to do.
"""

# ruff: noqa: RUF001, RUF003 - signs that look like others are what is looked for

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from threading import Lock

from schemas.issues import SourceError
from schemas.texts import clean

_DELIMITERS = {",": ",", ";": ";", "\t": "tabs", "|": "|"}
_BATCH = 10_000
_ERRORS_NAMED = 5

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_SEP_LINE = re.compile(r"sep=([^\w\s\"']|\t)(?:\r\n?|\n|\Z)", re.IGNORECASE)
_QUOTED = re.compile(r'(?:^|(?<=[,;\t|\r\n]))"[^"]*(?:""[^"]*)*(?:"|\Z)')
_NEWLINE = re.compile(r"\r\n?|\n")
_WHOLE_UTF8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_SURROGATE = re.compile("[\ud800-\udfff]")

# What é, ü, ä, á, à, â and ’ of a Mac become when read as cp1252, where no language has them:
# ‡ˆ‰‹› beside a letter, ŽŠŒŸ after a small letter or between a capital and a small one, OÕBrien.
# (ö and ñ become š and –, which tell nothing.) The sign comes first, or the search is slow.
_SMALL, _CAPITAL, _LETTER = "[a-zß-öø-ÿœšž]", "[A-ZÀ-ÖØ-ÞŠŽ]", r"[^\W\d_]"
_MAC_ROMAN = re.compile(
    rf"[‡ˆ‰‹›ŽŠŒŸÕ](?:(?<={_LETTER}[‡ˆ‰‹›])|(?<=[‡ˆ‰‹›])(?={_LETTER})|(?<={_SMALL}[ŽŠŒŸÕ])"
    rf"|(?<={_CAPITAL}[ŽŠŒŸ])(?={_SMALL})|(?<={_CAPITAL}Õ)(?={_CAPITAL}{_SMALL}))"
)

_GUARDED = re.compile(r"''*[=+\-@\t\r]")
_TEXT_FORMULA = re.compile(r'="([^"]*)"')
_DANGEROUS = re.compile(r"'*[=+\-@\t\r]")


def read_records(
    data: bytes, *, is_known: Callable[[str], bool], encoding: str | None
) -> tuple[str, Iterator[Sequence[str]]]:
    """The records of a delimited file, blank ones too, the header being one of them.

    Args:
        data: the whole file.
        is_known: tells whether a header is a known one; the delimiter that gives the most is taken.
        encoding: the one to use; None finds it out.

    Returns:
        A description for logs, and the records, in the order of the file.

    Raises:
        SourceError: the encoding is in doubt, there are NUL characters, or (while the records
            are taken) quotation marks don't match.
    """
    text, name = _decoded(data, encoding)
    _refuse_nul(text)
    if sep_line := _SEP_LINE.match(text):
        delimiter, start = sep_line[1], sep_line.end()
    else:
        delimiter, start = _delimiter(text, is_known), 0
    description = f"CSV, {name}, separated by {_DELIMITERS.get(delimiter, delimiter)}"
    records = _records(text, start, delimiter)
    if _GUARDED.search(text) or '="' in text:
        return description, ([_as_shown(cell) for cell in record] for record in records)
    return description, records


def written(header: Sequence[str], rows: Iterable[Sequence[str | None]]) -> bytes:
    """A CSV file that Excel and `read_records` read: UTF-8 with BOM, every cell quoted, and no
    cell a formula.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    for row in (header, *rows):
        writer.writerow([_guarded(cell or "") for cell in row])
    return file.getvalue().encode("utf-8-sig")


def _guarded(cell: str) -> str:
    return f"'{cell}" if _DANGEROUS.match(cell) else cell


def _as_shown(cell: str) -> str:
    """Without our guard against formulas; and what programs write as ="00042", so that Excel keeps
    the zeros, without that.
    """
    if _GUARDED.match(cell):
        return cell[1:]
    found = _TEXT_FORMULA.fullmatch(cell)
    return found[1] if found else cell


# -- encoding --------------------------------------------------------------------------------


def _decoded(data: bytes, encoding: str | None) -> tuple[str, str]:
    """The text and the name of its encoding."""
    if encoding is not None:
        return _decoded_as_told(data, encoding)
    for bom, name, codec in (
        (codecs.BOM_UTF8, "UTF-8", "utf-8"),
        (codecs.BOM_UTF16_LE, "UTF-16", "utf-16-le"),
        (codecs.BOM_UTF16_BE, "UTF-16", "utf-16-be"),
    ):
        if data.startswith(bom):
            return _strictly(data[len(bom) :], codec, name), name
    if utf16 := _utf16_by_nul_pattern(data):
        return _strictly(data, utf16, "UTF-16"), "UTF-16"
    try:
        return data.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError as error:
        broken_at = error.start
    return _decoded_as_cp1252(data, broken_at), "cp1252"


def _decoded_as_told(data: bytes, encoding: str) -> tuple[str, str]:
    try:
        name = codecs.lookup(encoding).name
        text = data.decode(name).removeprefix("\ufeff")
    except UnicodeError:
        raise SourceError(
            f"The file can't be read as {encoding!r}: it holds bytes which that encoding doesn't "
            "have. Name another encoding, or save the file as UTF-8."
        ) from None
    except (LookupError, ValueError):
        raise SourceError(
            f"{encoding!r} is no encoding of text that Python knows; "
            'usual ones are "utf-8", "cp1252", "mac_roman" and "utf-16".'
        ) from None
    if _SURROGATE.search(text):
        raise SourceError(f"The file can't be read as {encoding!r}. Save it as UTF-8.")
    return text, name


def _strictly(data: bytes, codec: str, name: str) -> str:
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        row = _row_of(data[: error.start].decode(codec, "ignore"))
    raise SourceError(
        f"The file begins as {name}, but row {row} holds bytes that are not {name}: it is damaged "
        "or put together from several files. Save it again as UTF-8."
    )


def _utf16_by_nul_pattern(data: bytes) -> str | None:
    """Names of columns are mostly Latin letters: in UTF-16 every other byte is NUL."""
    start = data[:2000]
    pairs = len(start) // 2
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if odd > 0.7 * pairs and even < 0.1 * pairs:
        return "utf-16-le"
    if even > 0.7 * pairs and odd < 0.1 * pairs:
        return "utf-16-be"
    return None


def _decoded_as_cp1252(data: bytes, broken_at: int) -> str:
    """`data`, which isn't UTF-8 from byte `broken_at` on, as cp1252 if nothing speaks against."""
    _refuse_nul(data.decode("latin-1"))  # before the rest of a binary file gives worse reasons
    if _WHOLE_UTF8_SEQUENCE.search(data):
        raise SourceError(
            f"The file mixes UTF-8 with another encoding, from row {_row_of_byte(data, broken_at)} "
            "on. Save it again as UTF-8; or, if its names look right when read as such, name the "
            'encoding, as in encoding="cp1252".'
        )
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        row = _row_of_byte(data, error.start)
        raise SourceError(
            f"The encoding of the file can't be told (row {row}). Save it as UTF-8, or name the "
            'encoding, as in encoding="mac_roman" for a file from an old Mac program.'
        ) from None
    if strange := _MAC_ROMAN.search(text):
        raise SourceError(
            f"The letters of row {_row_of(text, strange.start())} look like those of an old Mac "
            'program. If so, name the encoding with encoding="mac_roman", otherwise with '
            'encoding="cp1252"; or save the file as UTF-8.'
        )
    return text


def _refuse_nul(text: str) -> None:
    if "\0" in text:
        raise SourceError(
            f"Row {_row_of(text, text.index(chr(0)))} holds NUL characters: the file is damaged, "
            "or isn't text. Save it again from the program it comes from."
        )


def _row_of_byte(data: bytes, position: int) -> int:
    return _row_of(data[:position].decode("latin-1"))


def _row_of(text: str, position: int | None = None) -> int:
    """The spreadsheet row of a position: newlines count unless they are quoted."""
    before = text[:position]
    if sep_line := _SEP_LINE.match(before):
        before = before[sep_line.end() :]
    return 1 + len(_NEWLINE.findall(_QUOTED.sub("", before)))


# -- records ---------------------------------------------------------------------------------


def _delimiter(text: str, is_known: Callable[[str], bool]) -> str:
    """The delimiter that makes most known names of the header; of equal ones, most columns."""

    def score(delimiter: str) -> tuple[int, int]:
        try:
            header = next(filter(_says_something, _records(text, 0, delimiter, 1)), [])
        except SourceError:
            return -1, 0
        names = [clean(_as_shown(cell)) for cell in header]
        return sum(is_known(name) for name in names if name), len(names)

    return max(_DELIMITERS, key=score)


def _says_something(record: Sequence[str]) -> bool:
    return any(clean(cell) for cell in record)


def _records(
    text: str, start: int, delimiter: str, batch_size: int = _BATCH
) -> Iterator[Sequence[str]]:
    lines = (line[0] for line in _LINE.finditer(text, start))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    count = 0
    batch = None
    while batch != []:
        batch, bad_rows = _next_batch(reader, count, batch_size, len(text))
        if bad_rows:
            raise _quotes_do_not_match(bad_rows)
        yield from batch
        count += len(batch)


def _next_batch(
    reader: Iterator[Sequence[str]], count: int, size: int, longest: int
) -> tuple[list[Sequence[str]], list[int]]:
    """The next records, and the rows of those (a few of them) that can't be read."""
    batch: list[Sequence[str]] = []
    with _fields_of_any_length(longest):
        try:
            batch.extend(islice(reader, size))
        except csv.Error:
            row = count + len(batch) + 1
            return batch, [row, *_further_bad_rows(reader, row)]
    return batch, []


def _further_bad_rows(reader: Iterator[Sequence[str]], row: int) -> list[int]:
    bad_rows: list[int] = []
    while len(bad_rows) < _ERRORS_NAMED - 1:
        row += 1
        try:
            next(reader)
        except csv.Error:
            bad_rows.append(row)
        except StopIteration:
            break
    return bad_rows


def _quotes_do_not_match(rows: Sequence[int]) -> SourceError:
    names = ", ".join(str(row) for row in rows)
    which = f"row {names}" if len(rows) == 1 else f"rows {names}"
    return SourceError(
        f"Quotation marks (\") don't match in {which}, so what follows can't be trusted either. "
        'A value with a quotation mark in it is written "like ""this"""; saving the file from a '
        "spreadsheet program does so."
    )


_limit_lock = Lock()


@contextmanager
def _fields_of_any_length(length: int) -> Iterator[None]:
    """The limit of the csv module is global: it is lifted for the moment of reading only."""
    with _limit_lock:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, length))
        try:
            yield
        finally:
            csv.field_size_limit(before)
