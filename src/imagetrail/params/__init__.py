"""params.yaml: a file for each section, read in one place into frozen, strict models.

section.py named.py         shared by all sections
download.py … machine.py    the sections: names, types, bounds, and what each parameter means
load.py messages.py         the whole file, and its problems in sentences
portable.py                 what portable arithmetic refuses
signatures.py libraries.py  the arguments of the classes that params.yaml names
recipes.py overrides.py     other ways to fill it: an overlay, or changes for one run

A stage depends on its own sections' files and on named.py; the rest can reject a run but not change its bytes.
May import: errors, console, addresses, files.
"""
