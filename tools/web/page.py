#!/usr/bin/env python3
"""Puts the page together: style sheet and scripts go into the HTML, the HTML into a C file.

    page.py OUTPUT.c INDEX.html FILE...

A file takes the place of <link rel="stylesheet" href="NAME"> or <script src="NAME"></script> in the
HTML. The page loads nothing from elsewhere; the policy that is sent along names its style and script
by their hashes, so that nothing that ever gets into it by mistake would run."""
import base64
import hashlib
import os
import re
import sys

output, index, *names = sys.argv[1:]
files = {os.path.basename(name): open(name, encoding='utf-8').read() for name in names}
hashes = {'script': [], 'style': []}


def quoted(text):
    return ''.join(chr(b) if 32 <= b < 127 and b not in b'"\\\\?' else f'\\{b:03o}' for b in text.encode())


def inline(kind):
    def replace(match):
        text = '\n' + files.pop(match.group(1))
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
        return f'<{kind}>{text}</{kind}>'
    return replace


html = open(index, encoding='utf-8').read()
html = re.sub(r'<link rel="stylesheet" href="([^"]+)">', inline('style'), html)
html = re.sub(r'<script src="([^"]+)"></script>', inline('script'), html)
if files:
    sys.exit(f'{index} does not use {", ".join(files)}')
page = html.encode()
policy = ("default-src 'none'; script-src " + ' '.join(hashes['script']) + '; style-src ' +
          ' '.join(hashes['style']) + "; connect-src 'self'; img-src data: blob:; media-src blob:; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
with open(output, 'w', encoding='utf-8') as out:
    out.write('#include "web/page.h"\n\nconst char page_html[] =\n')
    for line in html.splitlines(keepends=True):
        out.write(f'    "{quoted(line)}"\n')
    out.write(';\nconst size_t page_html_size = sizeof page_html - 1;\n')
    out.write(f'const char page_tag[] = "\\"{hashlib.sha256(page).hexdigest()[:16]}\\"";\n')
    out.write(f'const char page_policy[] = "{policy}";\n')
