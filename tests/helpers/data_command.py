"""Calls ``mav data`` as a user does."""

import pytest

from lightning_mav.cli import main


def mav(*arguments):
    main(["data", *map(str, arguments)])


def fails(pattern, *arguments, capsys):
    """Checks that a call ends in one line, which holds the pattern, and returns it."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        mav(*arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("mav: error: ")
    assert error.count("\n") == 1
    assert pattern in error
    return error
