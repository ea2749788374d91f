"""The stages of the pipeline, in order: plain functions plus one Prefect task each."""
