"""Small numbers of a platform, so that short inputs are cut in blocks and pieces."""

from casim import platforms


def small_numbers(monkeypatch, platform: str = "cpu", **changes) -> None:
    """Changes numbers of `casim.platforms` for one test."""
    numbers = platforms.numbers(platform)
    monkeypatch.setitem(platforms.TABLE, platform, numbers._replace(**changes))
