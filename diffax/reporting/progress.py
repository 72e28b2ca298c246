"""Progress reporting: a progress bar on a terminal, occasional plain lines in a log file."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, final, runtime_checkable

SECONDS_BETWEEN_REFRESHES = 0.2


@runtime_checkable
class Stream(Protocol):
    """A text stream that progress is written to, such as sys.stderr."""

    def write(self, text: str, /) -> Any: ...

    def flush(self) -> Any: ...

    def isatty(self) -> bool: ...


@final
class Progress:
    """A progress display: steps done, values such as the loss, steps per second and time left.

    unit: what is counted, in the plural: steps, samples.

    On a terminal it is a tqdm bar. On any other stream it is one line at most every `seconds_between_lines`, and one at
    the end. Nothing is written unless enabled. Values are formatted only when shown, so that passing a JAX array to
    `update` every step does not make the host wait for the device.
    """

    def __init__(
        self,
        num_steps: int,
        *,
        start_step: int = 0,
        description: str = "train",
        unit: str = "steps",
        stream: Stream | None = None,
        seconds_between_lines: float | int = 30.0,
        enabled: bool = True,
    ):
        self._num_steps = num_steps
        self._description, self._unit = description, unit
        self._stream: Stream = sys.stderr if stream is None else stream
        terminal = enabled and self._stream.isatty()
        self._bar = _bar(num_steps, start_step, description, unit, self._stream) if terminal else None
        self._interval = seconds_between_lines if self._bar is None else SECONDS_BETWEEN_REFRESHES
        self._enabled = enabled
        self._step = start_step
        self._values: Mapping[str, Any] = {}
        self._shown_step, self._shown_time = start_step, time.monotonic()

    def update(self, step: int, **values: Any) -> None:
        """Reports that `step` steps are done; values are numbers or scalar arrays to show, e.g. loss=0.1."""
        self._step, self._values = step, values
        if self._enabled and time.monotonic() - self._shown_time >= self._interval:
            self._show()

    def close(self) -> None:
        """Shows the last step, unless it is shown already, and closes the bar."""
        if self._enabled and self._step != self._shown_step:
            self._show()
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _show(self) -> None:
        values = [f"{name} {float(value):.4g}" for name, value in self._values.items()]
        # The time is taken after the values: reading them may wait for steps that the device has not finished.
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(values), refresh=False)
            self._bar.update(self._step - self._shown_step)
        else:
            rate = (self._step - self._shown_step) / max(now - self._shown_time, 1e-9)
            left = (self._num_steps - self._step) / rate if rate > 0 else float("inf")
            done = f"{self._unit.removesuffix('s')} {self._step}/{self._num_steps}"
            parts = [done, *values, f"{rate:.3g} {self._unit}/s", f"{duration(left)} left"]
            self._stream.write(f"{self._description}: {', '.join(parts)}\n")
            self._stream.flush()
        self._shown_step, self._shown_time = self._step, now


def downloads(stream: Stream | None = None) -> Callable[..., None]:
    """A callback report(name, done, total, unit="B") that shows a progress bar for each name, as of a downloaded file.

    On a stream that is not a terminal, each has a line every 10 s.
    """
    import tqdm

    out: Stream = sys.stderr if stream is None else stream
    bars: dict[str, Any] = {}

    def report(name: str, have: int, size: int, unit: str = "B") -> None:
        if name not in bars:
            every = SECONDS_BETWEEN_REFRESHES if out.isatty() else 10
            bars[name] = tqdm.tqdm(
                total=size, initial=have, desc=name, file=out, unit=unit, unit_scale=unit == "B", mininterval=every
            )
        bars[name].update(have - bars[name].n)
        if have >= size:
            bars.pop(name).close()

    return report


def duration(seconds: float | int) -> str:
    """Formats a duration as 59s, 12m05s or 3h07m; infinity is 'unknown'."""
    if seconds == float("inf"):
        return "unknown"
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    return f"{total // 3600}h{total % 3600 // 60:02d}m"


def _bar(num_steps: int, start_step: int, description: str, unit: str, stream: Stream):
    import tqdm

    # Progress limits the refresh rate itself; tqdm's own limit would leave out some of its refreshes.
    return tqdm.tqdm(
        total=num_steps,
        initial=start_step,
        desc=description,
        file=stream,
        unit=f" {unit}",
        dynamic_ncols=True,
        mininterval=0,
        smoothing=0.1,
    )
