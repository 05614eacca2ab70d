"""HTML pages that open without a network: the comparison, the suspects and the report.

render.py   fill a template, and put pixels into it
base.html   the frame and the style that all pages share
*.html      one template a page

May import: errors, files.
"""
