"""The known columns of a file, whichever flow it is for, and what is wrong with single cells.

Belongs here: the table that all rules over rows work on, and what all kinds of files have in
common. Does not: reading files (`files/source.py`), single values (`values.py`), or what one kind
of file must look like (`import_file.py` and its like).
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import pandas as pd
import pandera.pandas as pa

from schemas.blank_words import refuse_words_for_nothing, stand_for_nothing, without_blank_words
from schemas.columns import META_PREFIX, MetaField
from schemas.files.source import Sheet
from schemas.identifiers import CLEANED, IDENTIFIER_FIELDS, IDENTIFIER_SENTENCES, cleaned
from schemas.issues import Issue, issue_of
from schemas.person_columns import PEOPLE, REQUIRED_OF_CUSTOMERS, person_column
from schemas.texts import canonical
from schemas.values import SENTENCES, column, contradiction_in, date_problems

META = {f"{META_PREFIX}.+": column("a CRM field, by its label or its id; its options are checked")}
CELL_SENTENCES = {
    **SENTENCES,
    **IDENTIFIER_SENTENCES,
    "blank_word": (
        "{column} holds a word for nothing; empty the cell, or run with blank_words=[{word}] to "
        "have all such cells blank."
    ),
    "meta_option": "{column} must be one of the options of this CRM field: {options}.",
}
"""What a person is told of single cells, whichever flow the file is for."""
_issue = partial(issue_of, CELL_SENTENCES)
_EXACT_FIELDS = frozenset({"tel_1", "tel_2", "postcode", "email"})
"""Of a person: fields of which every sign counts."""
_CLEANED_FIELDS = IDENTIFIER_FIELDS | _EXACT_FIELDS | {
    "adviser_email", "email_recipient", "sms_recipient",
}  # fmt: skip
"""Sent without signs that nobody sees, as a phone number copied from a telephone has."""
_NEVER_A_WORD = _EXACT_FIELDS | {"date_of_birth", "dob", "email_recipient", "sms_recipient"}
"""Fields that no word for nothing is a value of, and that are refused with such a word."""
_CHECKED_FIELDS = frozenset(
    {"adviser_email", "marital_status", "entity_id", "is_charity", "action", "start_time",
     "end_time", "email_confirmation", "email_notification", "sms_confirmation",
     "sms_notification", "zoom_meeting"}
)  # fmt: skip
"""Fields whose own checks refuse such a word; all others are free texts."""


def _field(name: str) -> str:
    """What a column holds, whoever's it is: of `customer_1_tel_1` it is `tel_1`."""
    person = person_column(name)
    return person["field"] if person else name


def _is_exact(matched: Mapping[str, str], header: str | None) -> bool:
    """Whether every sign of a column's cells counts: identifiers, phones, postcodes."""
    name = matched.get(header or "")
    if name is None or name.startswith(META_PREFIX):
        return False
    person = person_column(name)
    if person:
        return person["field"] in _EXACT_FIELDS
    return name in IDENTIFIER_FIELDS or name == "sms_recipient"


class SourceTable:
    """The known columns of a sheet under their names, and what is needed to speak of them."""

    def __init__(
        self, sheet: Sheet, matched: Mapping[str, str], blank_words: Sequence[str] | None = None
    ) -> None:
        fields = {header: _field(name) for header, name in matched.items()}
        needed = {header for header, field in fields.items() if field in REQUIRED_OF_CUSTOMERS}
        identifiers = {header for header, field in fields.items() if field in IDENTIFIER_FIELDS}
        sheet = without_blank_words(sheet, blank_words, needed)
        frame = sheet.frame[list(matched)].rename(columns=dict(matched))
        self.frame = frame
        self.headers = {name: header for header, name in matched.items()}
        self.notes = self._clean_exact_columns(sheet.rows)
        """By row: what is sent otherwise than the file has it, as a sentence."""
        self.rows = sheet.rows
        self.file_issues = [
            issue for issue in sheet.issues if issue.column is None or issue.column in matched
        ]
        self.file_issues += [issue for issue in sheet.doubts if _is_exact(matched, issue.column)]
        self.file_issues += self._take_out_words()
        """What the reader found, but for columns that aren't used, and words for nothing."""
        refuse_words_for_nothing(self._free_texts(), blank_words, needed | identifiers)
        self.names = list(frame.columns)
        self.meta_columns = [name for name in self.names if name.startswith(META_PREFIX)]
        self.meta: Mapping[str, MetaField] = {}
        self.cells: dict[str, list[str | None]] = {
            name: frame[name].astype(object).where(frame[name].notna(), None).tolist()
            for name in self.names
        }
        self.entries: dict[str, dict[str, str]] = defaultdict(dict)
        """By `customer_1_`: the column of each of its fields."""
        for name in self.names:
            if person := person_column(name):
                self.entries[person["entry"]][person["field"]] = name
        self.rows_are_people = "customer_" in self.entries or "address_book_" in self.entries

    def _take_out_words(self) -> Iterator[Issue]:
        """Those in columns in which they can't be meant, of which nothing more is to be said."""
        for name in self.frame.columns:
            if _field(name) not in _NEVER_A_WORD:
                continue
            texts = self.frame[name]
            found = stand_for_nothing(texts)
            self.frame[name] = texts.mask(found)
            for index in found.to_numpy().nonzero()[0].tolist():
                word = json.dumps(texts.iloc[index])
                yield _issue("blank_word", self.rows[index], self.header(name), word=word)

    def _free_texts(self) -> dict[str, pd.Series]:
        """The cells of columns in which anything may stand, by header."""
        checked = _NEVER_A_WORD | _CHECKED_FIELDS
        names = [name for name in self.frame.columns if _field(name) not in checked]
        return {self.header(name): self.frame[name] for name in names}

    def _clean_exact_columns(self, rows: Sequence[int]) -> dict[int, str]:
        changed: defaultdict[int, list[str]] = defaultdict(list)
        for name in self.frame.columns:
            if _field(name) not in _CLEANED_FIELDS:
                continue
            texts = self.frame[name]
            self.frame[name] = cleaned(texts)
            differs = (texts != self.frame[name]) & texts.notna()
            for index in differs.to_numpy().nonzero()[0].tolist():
                changed[rows[index]].append(self.headers[name])
        return {
            row: CLEANED.format(columns=" and ".join(sorted(names)))
            for row, names in changed.items()
        }

    def cell(self, name: str, index: int) -> str | None:
        """The cell's text; None where it is blank, or where there is no such column."""
        return self.cells[name][index] if name in self.cells else None

    def header(self, name: str) -> str:
        """As the person wrote it; a column that isn't there, as it should be called."""
        return self.headers.get(name, name)

    def entry(self, prefix: str, index: int) -> dict[str, str]:
        """The given fields of one customer or address-book entry of one row."""
        return {
            name: value
            for name, column_name in self.entries[prefix].items()
            if (value := self.cells[column_name][index]) is not None
        }


def repeated(
    table: SourceTable, name: str, key: Callable[[str], str] = canonical
) -> Iterator[tuple[int, int]]:
    """Each row with the same `key` as another, and that one: which of them would come last is
    anybody's guess.
    """
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(table.rows):
        if value := table.cell(name, index):
            rows[key(value)].append(row)
    for same in rows.values():
        for row in same if len(same) > 1 else ():
            yield row, same[0] if row != same[0] else same[1]


def in_column_order(table: SourceTable) -> Callable[[Issue], tuple[int, str]]:
    """The key to sort the issues of a row by."""
    order = {header: position for position, header in enumerate(table.headers.values())}
    return lambda issue: (order.get(issue.column or "", -1), issue.code)


# -- columns, one at a time -------------------------------------------------------------------


def column_issues(
    table: SourceTable, model: pa.DataFrameSchema, sentences: Mapping[str, str] = CELL_SENTENCES
) -> Iterator[Issue]:
    """What the model finds: single cells that aren't what their column holds.

    Columns that the model doesn't have (identity columns) are not looked at.
    """
    model = _of_columns(model, table.names)
    try:
        model.validate(table.frame[list(model.columns)], lazy=True)
    except pa.errors.SchemaErrors as error:
        # its text and its frame hold cells: nothing but row, column and code leaves
        failures = error.failure_cases[["column", "check", "check_number", "index"]]
    else:
        return
    for (name, code), found in failures.groupby(["column", "check"], sort=False):
        header = table.header(name)
        limit = _limit(name, code)
        texts = table.frame[name].dropna()
        details = date_problems(texts) if code == "date" else None
        witnesses = _witnesses(table, texts) if code == "date" else {}
        for index in sorted({int(index) for index in found["index"]}):
            exact = details[index] if details is not None else code
            yield issue_of(sentences, exact, table.rows[index], header, limit=limit, **witnesses)


def _of_columns(model: pa.DataFrameSchema, names: Sequence[str]) -> pa.DataFrameSchema:
    """The model of these columns alone: pandera would look for each pattern among all of them."""
    columns = {}
    for name in names:
        key = next((key for key in model.columns if re.fullmatch(key, name)), None)
        if key is not None:
            column = model.columns[key]
            # without a type: the cells are texts already, and to ask costs as much as all checks
            columns[name] = pa.Column(None, column.checks, nullable=column.nullable)
    return pa.DataFrameSchema(columns, checks=model.checks)


def _witnesses(table: SourceTable, texts: pd.Series) -> Mapping[str, int]:
    """The rows that contradict each other in a column of dates."""
    found = contradiction_in(texts)
    if found is None:
        return {}
    one, other = (table.rows[int(str(index))] for index in (found.one, found.other))
    return {"one": one, "other": other}


def _limit(name: str, code: str) -> str:
    person = person_column(name)
    if code != "too_long" or person is None:
        return ""
    checks = PEOPLE[person["kind"]][person["field"]].checks
    return next(str(check.description) for check in checks if check.name == code)


def meta_issues(table: SourceTable) -> Iterator[Issue]:
    """CRM values that aren't among the options of their field."""
    for name, crm_field in table.meta.items():
        if not crm_field.options:
            continue
        for index, value in enumerate(table.cells[name]):
            if value is not None and option_of(value, crm_field.options) is None:
                options = ", ".join(crm_field.options)
                yield _issue("meta_option", table.rows[index], table.header(name), options=options)


def option_of(value: str, options: Sequence[str]) -> str | None:
    """The option as the account spells it, whichever case the file has."""
    if value in options:
        return value
    alike = [option for option in options if canonical(option) == canonical(value)]
    return alike[0] if len(alike) == 1 else None
