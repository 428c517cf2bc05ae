"""The figures of the survey, a module for each kind: see `experiments/survey_figures.py`."""
