"""The model: networks, and what turns one into a classifier; `train` and `evaluate` meet here.

networks/      one network each; a new network is a file there
classifier.py  a network with its normalisation, class names and image size, saved and loaded
pretrained.py  weights of an earlier training put into a network
exported.py    weights read out of a torch.export archive without running it
devices.py     where torch computes, and how that is kept repeatable
costs.py       multiply-adds

May import: errors, console, files.
"""
