"""The stages of the pipeline, in the order in which they work, each at the front door:

    ingest → clips → landmarks → screening → encoders → latents → train (twice) → select → evaluate → report

`plan.py` has them in a list. `animate.py` and `import_release.py` are jobs that are no stages. The rooms, whose files
import no stage:

    engine/     what a stage declares, how it is keyed, cached, resumed and spread over processes; the store
    workspace/  what a work folder holds: sources, clips, recipes, the run, its summary, what is published
    media/      video and sound, in and out
    faces/      the landmark model; faces found, followed and scored with it
    results/    scored reenactments as tables, pictures, plots and words
    samples/    the demo's clips
"""
