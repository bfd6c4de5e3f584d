"""Sentences for the person at the terminal, who may have closed it: that must not keep us from stopping what runs."""

import click


def tell(text: str = "", *, bold: bool | None = None, colour: str | None = None) -> None:
    """Print a line."""
    try:
        click.secho(text, bold=bold, fg=colour)
    except OSError:
        # Nobody reads any more.
        return


def dim(text: str) -> str:
    return click.style(text, dim=True)


def address(text: str) -> str:
    return click.style(text, fg="cyan")
