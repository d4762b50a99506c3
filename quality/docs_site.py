"""Data Docs that open offline.

Great Expectations writes pages that load styles, scripts and images from six content networks, and ships 4 MB of fonts
and tutorial pictures beside them. The contents are plain tables, so the pages are readable without any of it: this
takes everything remote and every script out and puts one small stylesheet in. Only the index is drawn by a script; it
is replaced by a list of the pages.
"""

import html
import pathlib
import re
import shutil

_SCRIPTS = re.compile(r"<script\b.*?</script>", re.DOTALL | re.IGNORECASE)
_FOOTER = re.compile(r"<footer\b.*?</footer>", re.DOTALL | re.IGNORECASE)
_REMOTE = re.compile(r"<(?:link|img)\b[^>]*(?:https?://|static/)[^>]*>", re.IGNORECASE)
_REMOTE_RULES = re.compile(r"[^\n{};]*url\(\s*['\"]?https?://[^)]*\)[^;}]*;?")
_STYLESHEET = """\
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 75rem; padding: 1rem; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; }
td, th { border: 1px solid #8884; padding: .25rem .5rem; text-align: left; vertical-align: top; }
code, pre { background: #8882; padding: 0 .2rem; }
nav ul, .breadcrumb { display: flex; flex-wrap: wrap; gap: .3rem 1rem; list-style: none; padding: 0; }
.alert { background: #8881; border-left: 4px solid #888; padding: .5rem 1rem; }
.text-success { color: #1a7f37; } .text-danger { color: #cf222e; }
.modal, .ge-walkthrough-modal, .btn-group, #ge-cta-footer, footer, .cooltip .top { display: none; }
"""


_INDEX = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><link rel="stylesheet" href="offline.css"></head>
<body><h1>{title}: the gate's expectations</h1><ul>
{pages}
</ul></body></html>
"""


def make_offline(site: pathlib.Path, title: str) -> None:
    """Rewrite the pages under `site` in place."""
    title = html.escape(title)
    shutil.rmtree(site / "static", ignore_errors=True)
    (site / "offline.css").write_text(_STYLESHEET, encoding="utf-8")
    pages = sorted(page for page in site.rglob("*.html") if page != site / "index.html")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for pattern in (_SCRIPTS, _FOOTER, _REMOTE, _REMOTE_RULES):
            text = pattern.sub("", text)
        up = "../" * (len(page.relative_to(site).parts) - 1)
        text = text.replace("</head>", f'<link rel="stylesheet" href="{up}offline.css"/></head>', 1)
        page.write_text(text, encoding="utf-8")
    links = (html.escape(page.relative_to(site).as_posix()) for page in pages)
    items = "\n".join(f'<li><a href="{link}">{link}</a></li>' for link in links)
    (site / "index.html").write_text(_INDEX.format(title=title, pages=items), encoding="utf-8")
