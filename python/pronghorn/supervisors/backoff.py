"""How soon a process that keeps dying is started again.

A death is a crash when the process never served, or ended within a second of its start without
having answered anything. The first is followed by a new start at once, each further one in a row
after twice the time, up to a limit; after so many the supervisor may give up.
"""

from dataclasses import dataclass

DELAY_S_MIN = 0.1
DELAY_S_MAX = 10.0
CRASHES_MAX = 8
"""In a row; with the delays between them they take about 13 s."""
LIFE_S_MIN = 1.0


@dataclass
class BackOff:
    """The crashes of one place, and when its next process is due."""

    count: int = 0
    due_at: float = 0.0

    @property
    def delay_s(self) -> float:
        """How long the next start waits."""
        if self.count <= 1:
            return 0.0
        return float(min(DELAY_S_MIN * 2 ** (self.count - 2), DELAY_S_MAX))

    @property
    def is_exhausted(self) -> bool:
        """Whether another start is of no use."""
        return self.count >= CRASHES_MAX

    def died(self, now: float, lived_s: float | None, *, has_served: bool) -> bool:
        """Count a death, of a process that served for `lived_s`; says whether it must wait."""
        is_crash = lived_s is None or (lived_s < LIFE_S_MIN and not has_served)
        self.count = self.count + 1 if is_crash else 0
        self.due_at = now + self.delay_s
        return self.count > 1

    def succeeded(self) -> None:
        """Forget the crashes."""
        self.count = 0

    def is_due(self, now: float) -> bool:
        """Whether the next process may be started."""
        return now >= self.due_at
