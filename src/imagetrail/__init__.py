"""imagetrail: labelled images in, a classifier out, and every number traced to its source.

A guided tour. An image walks through these rooms in order; each room's docstring lists what it holds.

    params/      params.yaml, section by section
    files/       what the stages hand to each other
    pages/       HTML pages, which share a template
    download/    find the labelled images, and list them
    preprocess/  decode each image into an array
    split/       choose the rows that train, validate and test
    model/       the network, and all it needs to classify an image
    train/       fit it
    evaluate/    measure it, and decide whether it passes the gate
    predict/     classify new image files
    compare/     compare runs with each other
    tracking/    log to MLflow, which no other room imports
    init/        propose a params.yaml for a folder of data
    sweeps/      train many times
    reproduce/   repeat a logged run
    server/      MLflow on PostgreSQL
    serving/     answer HTTP requests with predictions
    export/      a model in another format, proven on the test images
    doors/       the entry points: `imagetrail`, `make repro`, `mlflow run`

The files beside them serve every room: errors, console, programs, git, addresses, drawing, parquet_file. A room imports
the rooms above it in this list, never those below; tests/test_contracts.py holds that.

Where to begin, for the changes that people make most:

    a source         a file in download/, a row in download/sources.py, its name in params/download.py
    a network        a file in model/networks/, a row in its __init__.py; its arguments go under `model` in params.yaml
    an augmentation  kornia's by its name in train.augment; one of your own starts in train/augment.py
    a metric         evaluate/metrics.py
    a page           evaluate/report.py and pictures.py (test rows), preprocess/data_page.py (the data), compare/page.py
                     (runs), sweeps/suspects.py (labels); their HTML is in pages/
"""
