"""Other trackers' logs as projections of a run's own: TensorBoard, W&B (offline), MLflow and Aim, live or later.

A sink is shown the state of each experiment, and writes of it what is not there yet; it asks what it wrote itself, so
that an export can be repeated, or killed and repeated. What reads other trackers' logs is in `imports/`. Nothing here
needs jax, and a tracker's package is imported when its sink is made.

Synopsis:

    with opened(["tensorboard"], run_dir, "logs", print) as outlets:
        Export(run_dir, outlets).follow()
"""
