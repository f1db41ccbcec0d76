"""The output of a watch, written again and again from its journal."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator

from linnaea.embed.left_out import count_reasons, get_left_out_path, write_left_out
from linnaea.identify.commands.config import IdentifyConfig
from linnaea.identify.commands.event_outputs import index_captures, index_events, write_event_files
from linnaea.identify.commands.run_summary import count_statuses, format_utc_now, write_run_manifest
from linnaea.identify.commands.watch_journal import WatchJournal
from linnaea.identify.naming.namer import Namer
from linnaea.identify.output.writers import log_package_gaps, write_output
from linnaea.photos.photo_files import LeftOut
from linnaea.records import Prediction
from linnaea.search.scorer import Scorer
from linnaea.terminal import LOG_INTERVAL_S

logger = logging.getLogger(__name__)

# The pause between two outputs is at least this multiple of the time that writing one took.
WRITE_SHARE = 20


class WatchOutput:
    """The table or package that a watch writes from its journal; `is_due` says whether it is time to write it again."""

    def __init__(
        self,
        config: IdentifyConfig,
        journal: WatchJournal,
        state: dict,
        identified_by: str,
        namer: Namer,
        every_s: float,
        scorer: Scorer | None = None,
    ):
        self._config, self._journal, self._state, self._every_s = config, journal, state, every_s
        self._identified_by, self._namer = identified_by, namer
        self._scorer, self._since = scorer, format_utc_now()
        self._next_s = time.monotonic() + every_s
        self._logged_error = ""
        self._logged_s, self._logged_n = time.monotonic(), journal.n
        self.is_stale = True
        self.left_out: tuple[LeftOut, ...] = ()
        self.counts: Counter = Counter()

    def is_due(self) -> bool:
        """Whether the journal has something new and enough time has passed."""
        return self.is_stale and time.monotonic() >= self._next_s

    def write(self, *, last: bool = False) -> None:
        """Write the whole output. If that fails (another program has it open), log it and try again later.

        Raise OSError if the `last` output cannot be written.
        """
        start_s = time.monotonic()
        try:
            self._write(last=last)
        except OSError as error:
            if last:
                raise
            if str(error) != self._logged_error:
                self._logged_error = str(error)
                logger.warning(
                    f"{self._config.out} cannot be written now ({error}); the watch continues and tries again"
                )
        else:
            self.is_stale, self._logged_error = False, ""
        end_s = time.monotonic()
        self._next_s = end_s + max(self._every_s, WRITE_SHARE * (end_s - start_s))
        n_new = self._journal.n - self._logged_n
        if not last and not self.is_stale and end_s - self._logged_s >= LOG_INTERVAL_S and n_new > 0:
            logger.info(f"{self._journal.n:,} photographs in {self._config.out} (+{n_new:,})")
            self._logged_s, self._logged_n = end_s, self._journal.n

    def _write(self, *, last: bool) -> None:
        counts: Counter = Counter()

        def rows() -> Iterator[tuple[str, Prediction]]:
            counts.clear()
            for path, prediction in self._journal.rows():
                counts.update(count_statuses([prediction]))
                yield path, prediction

        config, state = self._config, self._state
        if config.writes_file:
            captures = index_captures(config, self._journal.rows, self._journal.read_metadata)
            index = index_events(config, self._journal.rows, self._namer, captures)
            gaps = write_output(
                config.out,
                config.as_,
                rows,
                identified_by=self._identified_by,
                created=state["created"],
                near=config.near,
                index=index,
                captures=captures,
                read_metadata=self._journal.read_metadata,
            )
            if last:
                captures.log_unknown()
                log_package_gaps(config.out, gaps)
            # The name of an event may change while its photographs arrive, and sorted copies are never moved.
            write_event_files(config, index, self._journal.rows, sort=last)
            # A rewritten photograph is named again, so only the work of this process is counted.
            more: dict = {"left_out": count_reasons(self.left_out)}
            more |= {"scoring": self._scorer.summary() | {"since": self._since}} if self._scorer else {}
            write_left_out(get_left_out_path(config.out), self.left_out)
            write_run_manifest(config.out, state, counts, more)
        else:
            deque(rows(), maxlen=0)
        self.counts = counts
