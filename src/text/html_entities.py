#!/usr/bin/env python3
"""Writes html_entities.inc: the named character references of HTML5, from Python's own list.

    python3 src/text/html_entities.py > src/text/html_entities.inc
"""
import html.entities
import textwrap

entities = html.entities.html5
names = sorted({name.rstrip(";") for name in entities})
rows = []
for name in names:
    runes = [ord(c) for c in entities[name + ";"]]
    legacy = ", 1" if name in entities else ""
    second = runes[1] if len(runes) > 1 else 0
    tail = f", {second:#x}{legacy}" if second or legacy else ""
    rows.append(f'{{"{name}",\xa0{runes[0]:#x}{tail}}},'.replace(", ", ",\xa0"))

print("/* Written by html_entities.py: name, code point, second code point, whether it is known without")
print(" * a semicolon too. Sorted by name. */")
print("\n".join(textwrap.wrap(" ".join(rows), 100, break_long_words=False, break_on_hyphens=False))
      .replace("\xa0", " "))
