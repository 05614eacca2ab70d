"""Stage `train`: fit a classifier on the train rows, choose on the validation rows.

loop.py           the epochs, from the first weights to the kept ones
launch.py         start the processes that share a training
processes.py      the group that they are
shards.py         the fixed parts of a batch that each computes
normalisation.py  mean and standard deviation of the train rows
batches.py        rows in random order, cut into batches
optimisation.py   optimizer, schedule, loss and averaging, by torch's names
calibration.py    the temperature that makes confidences right on average
augment.py        kornia's augmentations on whole batches
preview.py        a picture of augmented images
features.py       a frozen backbone's output for every image, computed once
checkpoints.py    the state after each epoch, so that a killed training resumes

May import: errors, console, drawing, files, params, model.
"""
