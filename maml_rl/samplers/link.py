"""Contract of a link: one process of workers as its supervisor sees it."""

from __future__ import annotations

import abc

from maml_rl.samplers.hosting import Answer, Message


class LinkLostError(ConnectionError):
    """No answer can come over a link any more."""


class Link(abc.ABC):
    """One process of workers: messages go there, answers come back in order, and it shows that it is alive.

    The workers may be in this process; what ends a process leaves it alone then.
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Words for the place of the workers, such as their process."""

    @property
    def is_open(self) -> bool:
        """True once messages are heard, at the latest when the process has started; by default from the start."""
        return True

    @abc.abstractmethod
    def send(self, message: Message) -> None:
        """Send a message; that the process is lost is noticed later, by `receive` or `ending`."""

    @abc.abstractmethod
    def receive(self) -> Answer:
        """An answer that is there.

        Raises
        ------
        LinkLostError
            If the process is gone.
        """

    @abc.abstractmethod
    def last_pulse(self) -> float:
        """Time of the last sign of life, as `time.monotonic` counts."""

    @abc.abstractmethod
    def ending(self) -> str:
        """Words for how the process ended, such as "was killed by SIGKILL"; "" while it lives."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End the process, whatever it does."""
