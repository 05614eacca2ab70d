"""`imagetrail init`: from a folder of data to a params.yaml that is worth running.

look.py      list the images as `download` would, and decode a sample of them
choose.py    the parameters for what was seen, each with its reason
networks.py  which network fits the images, and how fast this machine trains it
write.py     put the choices into params.yaml
tryout.py    train the candidates for an epoch, and compare them on validation rows
tell.py      describe what was found and chosen
mirroring.py whether flips keep the classes

May import: errors, console, files, params, download, preprocess, model, train, split.
"""
