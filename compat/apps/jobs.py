"""What rq's workers run: they import it by its name."""

import redis


def note(url: str, number: int) -> int:
    """Leaves a trace."""
    return redis.Redis.from_url(url).rpush("ran", number)
