"""`imagetrail export`: a run's model in a format that runs elsewhere, proven on every test image before it is logged.

exporter.py   `imagetrail export` itself: write, compare, log
onnx_file.py  write a model as ONNX, and answer with such a file
int8.py       quantise an ONNX file, calibrated on train rows
agreement.py  compare a file's answers with the model's

May import: errors, console, files, params, model, evaluate, tracking.
"""
