"""What a workbook's XML says of its cells beyond their values: hidden rows, formulas that were
never calculated, formats of numbers.

Belongs here: looking these up in the parts of an .xlsx file. Does not: values, which calamine reads
(`workbooks.py`), or what follows for a row (`source.py`).

Searched with patterns, since a large sheet has millions of cells and a parser takes a microsecond
for each; only of cells that matter is more read.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from xml.etree import ElementTree

from schemas.issues import SourceError

_MOST_BYTES = 20_000_000
"""Of the parts that are parsed whole: the list of sheets, and the styles."""
_MOST_COLUMNS = 16_384
_PLAIN = {0: "General", 49: "@"}
_BUILT_IN = {1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%", 11: "0.00E+00",
             12: "# ?/?", 13: "# ??/??", 37: "#,##0", 38: "#,##0", 39: "#,##0.00", 40: "#,##0.00",
             41: "#,##0", 42: "#,##0", 43: "#,##0.00", 44: "#,##0.00", 48: "##0.0E+0"}  # fmt: skip
_TOKEN = re.compile(r'"([^"]*)"|\\(.)|[_*].|\[\$([^\]-]*)[^\]]*\]|\[[^\]]*\]|(.)')
_REFERENCE = re.compile(rb'\br=["\']([A-Z]*)([0-9]+)["\']')
_STYLE = re.compile(rb'\bs=["\']([0-9]+)["\']')


@dataclass(frozen=True)
class SheetXml:
    """One sheet, and the formats of the workbook's numbers by their style."""

    xml: bytes
    formats: Mapping[int, str]
    """Without the usual one, text, and dates."""

    def hidden_rows(self) -> set[int]:
        """Rows that nobody sees: hidden by hand, by a group or by a filter."""
        if b"hidden=" not in self.xml:
            return set()
        tags = re.finditer(rb"<(?:\w+:)?row\b[^<>]*>", self.xml)
        is_hidden = re.compile(rb'\bhidden=["\'](?:1|true)["\']').search
        return {_place(tag[0])[0] for tag in tags if is_hidden(tag[0])}

    def hidden_columns(self) -> set[int]:
        """Positions of columns that nobody sees."""
        found: set[int] = set()
        for tag in re.finditer(rb"<(?:\w+:)?col\b[^<>]*>", self.xml):
            attributes = dict(re.findall(rb"\b(min|max|hidden|width)=[\"']([^\"']*)", tag[0]))
            if attributes.get(b"hidden") in (b"1", b"true"):
                first, last = int(attributes[b"min"]), int(attributes[b"max"])
                found.update(range(first - 1, min(last, _MOST_COLUMNS)))
        return found

    def formulas_without_result(self) -> list[tuple[int, int]]:
        """Rows, and positions of columns. An empty text is a result."""
        p = self._prefix()
        end = rb"(?:</%sf>|<%sf\b[^<>]*/>)\s*(?:</%sc>|(<%sv\s*/>|<%sv>\s*</%sv>))"
        found = []
        for match in re.finditer(end % (p, p, p, p, p, p), self.xml):
            start = self.xml.rfind(b"<%sc " % p, 0, match.start())
            tag = self.xml[start : self.xml.index(b">", start)]
            if match[1] is None or not re.search(rb'\bt=["\']str["\']', tag):
                found.append(_place(tag))
        return found

    def formatted_cells(self) -> Iterator[tuple[tuple[int, int], str]]:
        """Cells in the order of the sheet with their formats, blank ones and texts among them."""
        used = [style for style in self.formats if re.search(rb's=["\']%d["\']' % style, self.xml)]
        if not used:
            return
        styles = b"|".join(b"%d" % style for style in used)
        pattern = rb'<%sc\b[^<>]*?\bs=["\'](?:%s)["\'][^<>]*>' % (self._prefix(), styles)
        for tag in re.finditer(pattern, self.xml):
            style = _STYLE.search(tag[0])
            assert style is not None
            yield _place(tag[0]), self.formats[int(style[1])]

    def _prefix(self) -> bytes:
        found = re.search(rb"<(\w+:)?worksheet\b", self.xml[:2000])
        return (found[1] if found else None) or b""


def sheet_xml(archive: zipfile.ZipFile, name: str) -> SheetXml:
    """The sheet of that name.

    Raises:
        ValueError: the workbook is not made as it should be.
    """
    sheets = _parsed(archive, "xl/workbook.xml")
    relations = _parsed(archive, "xl/_rels/workbook.xml.rels")
    targets = {each.get("Id"): each.get("Target", "") for each in relations}
    for each in sheets.iterfind("{*}sheets/{*}sheet"):
        if each.get("name") == name:
            relation = next(value for key, value in each.items() if key.endswith("}id"))
            target = targets[relation]
            path = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
            return SheetXml(archive.read(path), _formats(archive))
    raise ValueError("no such sheet")


def _parsed(archive: zipfile.ZipFile, path: str) -> ElementTree.Element:
    if archive.getinfo(path).file_size > _MOST_BYTES:
        raise ValueError("too large")
    content = archive.read(path)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("entities")  # which no spreadsheet program writes
    return ElementTree.fromstring(content)  # noqa: S314 - without entities, and of bounded size


def _formats(archive: zipfile.ZipFile) -> dict[int, str]:
    if "xl/styles.xml" not in archive.namelist():
        return {}
    styles = _parsed(archive, "xl/styles.xml")
    own = {
        int(each.get("numFmtId", "0")): each.get("formatCode", "")
        for each in styles.iterfind("{*}numFmts/{*}numFmt")
    }
    known = _BUILT_IN | own | _PLAIN
    formats = {}
    for style, each in enumerate(styles.iterfind("{*}cellXfs/{*}xf")):
        code = known.get(int(each.get("numFmtId", "0")), "General")
        if code not in ("General", "@", "") and not _is_of_dates(code):
            formats[style] = code
    return formats


def _is_of_dates(code: str) -> bool:
    return any(sign and sign in "dmyhsDMYHS" for *_, sign in _TOKEN.findall(code)) or bool(
        re.search(r"\[[hms]+\]", code, re.IGNORECASE)
    )


def _place(tag: bytes) -> tuple[int, int]:
    """Row and position of the column; of a row's own tag the column is -1."""
    found = _REFERENCE.search(tag)
    if found is None:
        raise SourceError(
            "The workbook doesn't say where its cells are. Open it in Excel and save it again."
        )
    column = 0
    for letter in found[1]:
        column = 26 * column + letter - ord("A") + 1
    return int(found[2]), column - 1


def shown(number: float, code: str) -> str | None:
    """A number as its format shows it: with zeros in front, with signs between its digits, as a
    percentage. None where it is shown in a way that isn't known here.
    """
    tokens = [
        (quoted or escaped or currency, sign)
        for quoted, escaped, currency, sign in _TOKEN.findall(code.split(";", maxsplit=1)[0])
    ]
    signs = "".join(sign for _, sign in tokens)
    if percent := re.fullmatch(r"0(?:\.(0+))?%", signs):
        # a half is rounded away from zero, as spreadsheets do
        step = Decimal(1).scaleb(-len(percent[1] or ""))
        return f"{Decimal(f'{number * 100:.15g}').quantize(step, ROUND_HALF_UP)}%"
    if not number.is_integer() or not 0 <= number < 1e15 or re.search(r"[^0#, ()/+\-]", signs):
        return None
    if "," in signs and number >= 1000:
        return None
    digits = str(int(number))
    texts: list[str] = []
    places = sum(sign in "0#" for _, sign in tokens if sign)
    for literal, sign in reversed(tokens):
        if not sign or sign not in "0#,":
            texts.append(literal or sign)
        elif sign != ",":
            places -= 1
            texts.append((digits if not places else digits[-1:]) or sign.replace("#", ""))
            digits = "" if not places else digits[:-1]
    return "".join(reversed(texts)) if not digits else None
