"""`imagetrail serve`: answer HTTP requests with the predictions of one model, for applications and for people.

listen.py             `imagetrail serve` itself: load the model, and listen
web.py                the routes, their limits and figures
connections.py        close connections that send no request
collector.py          collect images while the worker is busy, and give them to it together
inference_process.py  the process that decodes and computes; a crash costs one image, not the server

The page for people is pages/predict.html. May import: errors, console, addresses, drawing, files, pages, preprocess,
model, predict, tracking.
"""
