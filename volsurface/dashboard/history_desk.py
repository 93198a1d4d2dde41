"""Questions to the history from this process's pages, answered in one thread of their own, never on the page's loop."""

import atexit
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from volsurface.errors import HistoryError
from volsurface.io.history.reader import History
from volsurface.io.history.sandbox import Answer, Sandbox

log = logging.getLogger(__name__)

Question = Callable[[History], Any]
Done = Callable[[Any], None]  # called in the desk's thread with the answer, or with the HistoryError there was


class HistoryDesk:
    """One store's reader and the thread that asks it; questions under one name replace each other while they wait.

    Who drags a slider asks for many times and wants the last; so only the newest question of a name is answered.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self.sandbox = Sandbox(store)
        self.answered = 0
        self._open = True
        self._history: History | None = None
        self._waiting: dict[object, tuple[Question, Done]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def ask(self, name: object, question: Question, done: Done) -> None:
        """Have `question` answered soon and `done` called with it; returns at once."""
        with self._changed:
            self._waiting[name] = (question, done)
            if self._thread is None:
                # A daemon: a query must not hold up the end of the server.
                self._thread = threading.Thread(target=self._work, name="history", daemon=True)
                self._thread.start()
            self._changed.notify()

    def ask_sql(self, query: str, done: Callable[[Answer], None]) -> None:
        """Have a typed query answered by the sandbox, beside all other questions; returns at once."""
        threading.Thread(target=lambda: done(self.sandbox.ask(query)), name="sql", daemon=True).start()

    def close(self) -> None:
        """Answer nothing more; a query that runs is interrupted."""
        with self._changed:
            self._open = False
            self._waiting.clear()
            self._changed.notify()
        if self._history is not None:
            self._history.interrupt()
        if self._thread is not None:
            self._thread.join(2.0)
        self.sandbox.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._open and not self._waiting:
                    self._changed.wait()
                if not self._open:
                    if self._history is not None:
                        self._history.close()
                    return
                name = next(iter(self._waiting))
                question, done = self._waiting.pop(name)
            done(self._answer(question))
            self.answered += 1

    def _answer(self, question: Question) -> Any:
        try:
            if self._history is None:
                self._history = History(self.store)
                self._history.sql("SET threads = 1")  # the page's own loop needs the other cores
            return question(self._history)
        except HistoryError as error:
            return error
        except Exception as error:  # a question's own fault must not end the thread that answers all others
            log.exception("a question to the history failed")
            return HistoryError(f"the question failed: {error}")


def _close_all() -> None:
    for each in list(_desks.values()):
        each.close()


_desks: dict[Path, HistoryDesk] = {}
atexit.register(_close_all)  # DuckDB complains of a connection that the end of the program finds open
_desks_lock = threading.Lock()


def desk(store: Path) -> HistoryDesk:
    """Return this process's desk of a store."""
    with _desks_lock:
        return _desks.setdefault(store, HistoryDesk(store))
