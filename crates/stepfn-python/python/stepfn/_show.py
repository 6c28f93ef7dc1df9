"""Results where someone looks at them."""

from __future__ import annotations

from typing import Any


def notebook(page: str, rows: int) -> str:
    """A page within a notebook, isolated from its styles. It takes the height that it needs, where the notebook lets it."""
    from html import escape

    grow = "this.style.height=(this.contentDocument.documentElement.scrollHeight+8)+'px'"
    height = min(240 + 24 * rows, 900)
    return (
        f'<iframe srcdoc="{escape(page)}" style="width:100%;height:{height}px;border:0" '
        f'onload="try{{{grow}}}catch(e){{}}" title="stepfn"></iframe>'
    )


def show(result: Any) -> None:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        print(result)
        return
    # On a terminal, IPython shows no pages.
    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        display(result)  # type: ignore[no-untyped-call]
    else:
        print(result)
