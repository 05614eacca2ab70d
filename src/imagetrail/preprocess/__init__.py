"""Stage `preprocess`: decode every listed image into one uint8 array, and look for suspicious images.

readers.py    find the bytes of each row
decode.py     turn the bytes of one image into pixels; `predict` uses it too
workers.py    decode on every core, or on a Dask cluster
build.py      write data/tensors
health.py     duplicates, near duplicates, blank and misnamed images
data_page.py  draw plots/data.png and plots/findings.png
conflicts.py  equal images with different labels
formats.py    the formats that are decoded, and the names of others

May import: errors, console, drawing, parquet_file, files, params.
"""
