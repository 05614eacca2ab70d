"""Labelled images in, a classifier whose every number can be retraced out."""
