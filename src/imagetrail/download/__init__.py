"""Stage `download`: find, fetch or make the labelled images, and list them in data/raw/labels.csv.

sources.py                     the table of sources; a new source is a file here and a row there
digits.py table.py folders.py archive.py parquet.py torchvision_arrays.py torchvision_photographs.py
                               one source each
job.py                         the request that every source gets
listing.py names.py finder.py kinds.py   images on disk: sorted, checked, found by the names of tables, told from others
labels.py pattern.py           labels, splits and groups, as people write them
relabel.py                     corrected labels
fetch.py unpack.py             downloads, and untrusted archives
recognise.py inventory.py reading.py recognise_table.py recognise_folders.py series.py   auto: recognise a folder
weights.py                     pretrained weights

May import: errors, console, addresses, parquet_file, files, params.
"""
