"""Votes on disk: a database of one file, safe against kills, that several graders and processes share."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from giga.search.grading.questions import SCHEMES, Scheme
from giga.search.grading.queue import order
from giga.search.grading.records import (
    SIMULATION,
    Full,
    Item,
    Locked,
    Progress,
    Refused,
    StoreError,
    Task,
    Vote,
    check_name,
)

VERSION = "1"
PATIENCE = 5.0  # a lock of another process is waited for [s]
IDLE = 120.0  # longer than this nobody looks at one candidate [s]
RECENT = 200  # votes that tell how fast a grader is
LONGEST_COMMENT = 2000

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, mark TEXT NOT NULL,
                    truth TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE graders (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, parts INTEGER NOT NULL);
CREATE TABLE tasks (grader INTEGER NOT NULL, position INTEGER NOT NULL, item INTEGER NOT NULL,
                    showing INTEGER NOT NULL, waits TEXT NOT NULL, flag INTEGER NOT NULL DEFAULT 0,
                    comment TEXT NOT NULL DEFAULT '', PRIMARY KEY (grader, position)) WITHOUT ROWID;
CREATE INDEX open_tasks ON tasks (grader, waits, position);
CREATE TABLE votes (seq INTEGER PRIMARY KEY AUTOINCREMENT, act TEXT NOT NULL, grader INTEGER NOT NULL,
                    position INTEGER NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, time REAL NOT NULL,
                    seconds REAL NOT NULL, undone REAL);
CREATE INDEX votes_of_tasks ON votes (grader, position);
"""


class _Connection(sqlite3.Connection):
    """A connection that is closed when its thread, or its store, is gone."""

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it never was one
            self.close()


class VoteStore:
    """The votes on a folder.

    A vote is on the disk when `answer` returns. Nothing is ever deleted: an undone vote says when it was undone.

    Args:
        path: Of the database.
        scheme: Questions of what is graded.
        seed: Of the shuffle; None takes that of a database that is there, else 0.
        repeats: Share of items that are shown twice, likewise; else none.

    Raises:
        StoreError: Another version, other questions, or other settings than it began with; locked; disk full.
    """

    def __init__(self, path: Path, scheme: Scheme, seed: int | None = None, repeats: float | None = None,
                 patience: float = PATIENCE):
        self.path, self.scheme, self.patience = path, scheme, patience
        self._local = threading.local()
        wanted = {"version": VERSION, "scheme": scheme.name, "seed": seed, "repeats": repeats}
        with self._writing() as database:
            there = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]
            if not there:
                if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise StoreError(f"{path}: a database of another kind; expected votes of giga grade")
                for statement in TABLES.split(";"):
                    database.execute(statement)
                begun = wanted | {"seed": seed or 0, "repeats": float(repeats or 0.0)}
                database.executemany("INSERT INTO meta VALUES (?, ?)", [(k, str(v)) for k, v in begun.items()])
            kept = dict(database.execute("SELECT name, value FROM meta"))
        for name, value in wanted.items():
            if value is not None and kept.get(name) != str(float(value) if name == "repeats" else value):
                raise StoreError(f"{path}: {name}: it was begun with {kept.get(name)!r}, got {value!r}; expected the "
                                 "same, or another folder")
        self.seed, self.repeats = int(kept["seed"]), float(kept["repeats"])

    @staticmethod
    def scheme_of(path: Path) -> Scheme:
        """The questions of votes that are there. Raises StoreError where there are none."""
        if not path.is_file():
            raise StoreError(f"{path}: no such file; expected votes of giga grade")
        try:
            with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
                kept = dict(database.execute("SELECT name, value FROM meta"))
        except sqlite3.Error as error:
            raise _told(path, error) from error
        if kept.get("version") != VERSION or kept.get("scheme") not in SCHEMES:
            raise StoreError(f"{path}: version {kept.get('version')!r}; expected {VERSION!r}")
        return SCHEMES[kept["scheme"]]

    def _database(self) -> sqlite3.Connection:
        if not hasattr(self._local, "database"):
            database = sqlite3.connect(self.path, timeout=self.patience, isolation_level=None, factory=_Connection,
                                       check_same_thread=False)  # for it ends where its thread is collected
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")  # a vote outlives a loss of power
            self._local.database = database
        return self._local.database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, whole or not at all."""
        try:
            database = self._database()
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _told(self.path, error) from error

    def _read(self, query: str, *values: object) -> list[tuple]:
        try:
            return self._database().execute(query, values).fetchall()
        except OverflowError:  # a number that no row can have
            return []
        except sqlite3.Error as error:
            raise _told(self.path, error) from error

    def add(self, items: Sequence[Item]) -> int:
        """Take in what is graded; what is there already is checked, what is new is queued behind the rest.

        Returns:
            Number of new items.

        Raises:
            StoreError: Something that has been graded is gone or another one.
        """
        with self._writing() as database:
            kept = {(kind, name): (mark, truth)
                    for name, kind, mark, truth in database.execute("SELECT name, kind, mark, truth FROM items")}
            given = {(item.kind, item.name): item for item in items}
            kinds = {item.kind for item in items}
            for (kind, name), (mark, truth) in kept.items():
                item = given.get((kind, name))
                if item is None and (kind in kinds or kind != SIMULATION):
                    raise StoreError(f"{self.path}: {kind} {name!r} is in the votes and no longer in the folder; "
                                     "expected the folder that was graded, or another one for new votes")
                if item is not None and (item.mark, item.truth) != (mark, truth):
                    raise StoreError(f"{self.path}: {kind} {name!r} is another one than was graded (then "
                                     f"{mark or '-'}, now {item.mark or '-'}); expected the folder that was graded, or "
                                     "another one")
            new = [item for key, item in given.items() if key not in kept]
            database.executemany("INSERT INTO items (name, kind, mark, truth) VALUES (?, ?, ?, ?)",
                                 [(item.name, item.kind, item.mark, item.truth) for item in new])
        return len(new)

    def items(self) -> dict[int, Item]:
        """What is graded, by its number."""
        return {key: Item(*rest) for key, *rest in self._read("SELECT id, name, kind, mark, truth FROM items")}

    def grader(self, name: str) -> int:
        """The number of a grader, whose queue is made, or made longer by what came since."""
        name = check_name(name)
        with self._writing() as database:
            database.execute("INSERT OR IGNORE INTO graders (name, parts) VALUES (?, 0)", (name,))
            grader, parts = database.execute("SELECT id, parts FROM graders WHERE name = ?", (name,)).fetchone()
            missing = [row[0] for row in database.execute("SELECT id FROM items WHERE id NOT IN (SELECT item FROM "
                                                          "tasks WHERE grader = ?) ORDER BY id", (grader,))]
            if missing:
                start = database.execute("SELECT count(*) FROM tasks WHERE grader = ?", (grader,)).fetchone()[0]
                queue = order(len(missing), self.repeats, self.seed, name, parts)
                first = self.scheme.questions[0].name
                database.executemany(
                    "INSERT INTO tasks (grader, position, item, showing, waits) VALUES (?, ?, ?, ?, ?)",
                    [(grader, start + k, missing[item], showing, first) for k, (item, showing) in enumerate(queue)])
                database.execute("UPDATE graders SET parts = parts + 1 WHERE id = ?", (grader,))
        return grader

    def graders(self) -> list[str]:
        """Names of all graders."""
        return [name for (name,) in self._read("SELECT name FROM graders ORDER BY id")]

    def tasks(self, grader: int, start: int, count: int) -> list[Task]:
        """Places of a queue from one on."""
        rows = self._read("SELECT position, item, showing, waits, flag, comment FROM tasks WHERE grader = ? AND "
                          "position >= ? ORDER BY position LIMIT ?", grader, start, count)
        return [Task(p, i, s, w, bool(f), c) for p, i, s, w, f, c in rows]

    def answers(self, grader: int, start: int, count: int) -> dict[int, dict[str, str]]:
        """Answers that stand, by position and question."""
        found: dict[int, dict[str, str]] = {}
        for position, question, answer in self._read(
                "SELECT position, question, answer FROM votes WHERE grader = ? AND position >= ? AND position < ? AND "
                "undone IS NULL ORDER BY seq", grader, start, start + count):
            found.setdefault(position, {})[question] = answer
        return found

    def next(self, grader: int, passing: int = -1) -> int | None:
        """The place to look at next: first what an answer has led on, then the first one of the queue that is open.

        Args:
            grader: Whose queue.
            passing: A place to look behind, for one that is left open; -1 for none.
        """
        for question in reversed(self.scheme.questions):
            for after in dict.fromkeys((passing, -1)):
                if (found := self.first_open(grader, question.name, after)) is not None:
                    return found
        return None

    def first_open(self, grader: int, question: str, after: int = -1) -> int | None:
        """The first place behind another that waits for a question, or None."""
        (found,), = self._read("SELECT min(position) FROM tasks WHERE grader = ? AND waits = ? AND position > ?",
                               grader, question, after)
        return None if found is None else int(found)

    def answer(self, grader: int, positions: Sequence[int], question: str, answer: str, act: str,
               seconds: float = 0.0, waiting: bool = False) -> None:
        """Keep one answer, of one place or of all of a page.

        Args:
            grader: Whose.
            positions: Places of the queue.
            question, answer: By name.
            act: A name of this act; one that is kept already is not kept again, so that a client may ask twice.
            seconds: How long was looked, at all together.
            waiting: Take only those that wait for this question, in the place of refusing the others.

        Raises:
            Refused: No such answer, or a place that does not wait for this question.
            StoreError: Locked, or the disk is full; nothing is kept then.
        """
        try:
            chosen = self.scheme.question(question).answer(answer)
        except ValueError as error:
            raise Refused(str(error)) from error
        with self._writing() as database:
            if database.execute("SELECT 1 FROM votes WHERE act = ? AND grader = ?", (act, grader)).fetchone():
                return
            kept = []
            for position in positions:
                row = database.execute("SELECT waits FROM tasks WHERE grader = ? AND position = ?",
                                       (grader, position)).fetchone()
                if row is None or row[0] != question and not waiting:
                    raise Refused(f"place {position + 1}: " + ("there is none" if row is None else
                                  f"waits for {row[0]!r}, got an answer to {question!r}" if row[0] else
                                  "is answered; undo it first"))
                if row[0] == question:
                    kept.append(position)
            each, now = min(max(seconds, 0.0) / max(len(kept), 1), IDLE), time.time()
            database.executemany(
                "INSERT INTO votes (act, grader, position, question, answer, time, seconds) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(act, grader, position, question, answer, now, each) for position in kept])
            database.executemany("UPDATE tasks SET waits = ? WHERE grader = ? AND position = ?",
                                 [(chosen.leads, grader, position) for position in kept])

    def undo(self, grader: int, position: int | None = None) -> int | None:
        """Take back the last act of a grader, or the last answer of one place.

        Returns:
            The place, the first of several; None where there is nothing to take back.
        """
        with self._writing() as database:
            where = "grader = ? AND undone IS NULL" + ("" if position is None else " AND position = ?")
            values = (grader,) if position is None else (grader, position)
            last = database.execute(f"SELECT seq, act FROM votes WHERE {where} ORDER BY seq DESC LIMIT 1",
                                    values).fetchone()
            if last is None:
                return None
            rows = database.execute(f"SELECT seq, position, question FROM votes WHERE {where} AND act = ? "
                                    "ORDER BY seq", (*values, last[1])).fetchall()
            now = time.time()
            database.executemany("UPDATE votes SET undone = ? WHERE seq = ?", [(now, seq) for seq, _, _ in rows])
            database.executemany("UPDATE tasks SET waits = ? WHERE grader = ? AND position = ?",
                                 [(question, grader, place) for _, place, question in rows])
        return int(rows[0][1])

    def note(self, grader: int, position: int, flag: bool | None = None, comment: str | None = None) -> None:
        """Keep a flag or a comment. Raises Refused for a comment that is too long."""
        if comment is not None and len(comment) > LONGEST_COMMENT:
            raise Refused(f"comment: {len(comment)} characters; expected at most {LONGEST_COMMENT}")
        with self._writing() as database:
            for column, value in (("flag", flag if flag is None else int(flag)), ("comment", comment)):
                if value is not None:
                    database.execute(f"UPDATE tasks SET {column} = ? WHERE grader = ? AND position = ?",
                                     (value, grader, position))

    def progress(self, grader: int) -> Progress:
        """How far a grader is, and how long the rest takes at the pace of the last votes."""
        waits = dict(self._read("SELECT waits, count(*) FROM tasks WHERE grader = ? GROUP BY waits", grader))
        (flagged,), = self._read("SELECT count(*) FROM tasks WHERE grader = ? AND flag", grader)
        recent = self._read("SELECT question, seconds FROM votes WHERE grader = ? AND undone IS NULL ORDER BY seq DESC "
                            "LIMIT ?", grader, RECENT)
        done, left = waits.pop("", 0), None
        if recent:
            pace = {name: [s for q, s in recent if q == name] for name in waits}
            every = sum(seconds for _, seconds in recent) / len(recent)
            left = sum(count * (sum(pace[name]) / len(pace[name]) if pace[name] else every)
                       for name, count in waits.items())
        return Progress(done + sum(waits.values()), done, waits, int(flagged), left)

    def votes(self, grader: str | None = None, standing: bool = False) -> list[Vote]:
        """All votes in the order in which they were given.

        Args:
            grader: Those of one alone.
            standing: Without those that were undone.
        """
        where = " AND ".join(["g.name = ?"] * (grader is not None) + ["v.undone IS NULL"] * standing)
        rows = self._read(
            "SELECT v.seq, g.name, i.name, i.kind, i.truth, t.showing, v.position, v.question, v.answer, v.time, "
            "v.seconds, v.undone, t.flag, t.comment FROM votes v JOIN graders g ON g.id = v.grader JOIN tasks t ON "
            "t.grader = v.grader AND t.position = v.position JOIN items i ON i.id = t.item"
            + (f" WHERE {where}" if where else "") + " ORDER BY v.seq", *([] if grader is None else [grader]))
        return [Vote(*head, flag=bool(flag), comment=comment) for *head, flag, comment in rows]


def _told(path: Path, error: sqlite3.Error) -> StoreError:
    """What went wrong, in words."""
    text = str(error)
    if "locked" in text or "busy" in text:
        return Locked(f"{path}: another process holds the database ({text}); expected it free: end that process, then "
                      "answer again; what was answered is kept")
    if "full" in text or "disk I/O" in text:
        return Full(f"{path}: the disk is full ({text}); free some space, then answer again; what was answered is kept")
    return StoreError(f"{path}: {text}; expected the votes of giga grade")
