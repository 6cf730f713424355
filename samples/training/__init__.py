"""What the samples share: settings from JSON and command line, training that resumes, checkpoints, progress.

`trainer.Trainer` is the training of any task; `classification` and `super_resolution` say what is trained on what.
"""
