"""The model: networks, and what makes one a classifier; `train` and `evaluate` share this room.

networks/      one network each; a new network is a file there
classifier.py  a network with its normalisation, class names and image size, saved and loaded
pretrained.py  load weights of an earlier training into a network
arithmetic.py  the environment of portable arithmetic
devices.py     the device that torch computes on, and repeatable arithmetic
feeds.py       batches on their way to the device
probabilities.py  the probabilities of classes, batch by batch
costs.py       multiply-adds

May import: errors, console, files.
"""
