"""Pieces of HTML. Whatever is not marked as such is text, and escaped."""

from __future__ import annotations

from html import escape
from importlib.resources import files

_EMPTY = frozenset({"input", "meta"})


class Markup(str):
    """A piece of HTML."""

    __slots__ = ()


def element(name: str, /, *content: str, **attributes: str | None) -> Markup:
    """Return an element. Text is escaped; an attribute that is None is left out.

    `class_` stands for the attribute `class`, `data_text` for `data-text`.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(*content)}</{name}>")


def joined(*content: str) -> Markup:
    """Return pieces one after another."""
    return Markup("".join(one if isinstance(one, Markup) else escape(one) for one in content))


def page(title: str, body: Markup) -> str:
    """Return a whole page, with its style and script inside; the browser loads nothing else."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", _resource("page.css")),
    )
    script = element("script", _resource("page.js"))
    whole = element("html", element("head", head), element("body", body, script), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def _resource(name: str) -> Markup:
    return Markup(files(__package__ or "").joinpath(name).read_text())
