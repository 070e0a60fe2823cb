"""What a server takes on, in numbers."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Limits of a server; what exceeds one is refused with the status named.

    `body`: bytes of a request's body (413). `items`: texts of a request, or sentences of an article (422).
    `queue`: sentences that wait or are being classified (503). `in_flight`: requests of one address that
    are not answered yet (429). `batch`: sentences classified at once, more only where one request has more.
    `seconds`: how long a client may take to send a request's head, its body (408), and to fetch the answer.
    Raises `ValueError` for numbers that cannot work.
    """

    body: int = 1 << 20  # some 500,000 Arabic letters: a long article has 20,000
    items: int = 1000
    queue: int = 4096  # about 5 seconds of work for the model that ships, on two cores
    in_flight: int = 128  # on loopback all clients are one address
    batch: int = 512  # half of it leaves a core idle at each batch's end; more makes the next request wait
    seconds: float = 20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name}: found {value}, expected a number above 0")
        if self.items > self.queue:
            raise ValueError(
                f"items: found {self.items}, expected at most the queue's {self.queue}: a full request would "
                "never be served; raise the queue or lower the items"
            )
