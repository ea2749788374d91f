"""The stages of the pipeline, in the order in which they work, each at the front door:

    clips → landmarks → lip_sync → screening → encoders → latents → train (twice) → select → evaluate → report

`plan.py` has them in a list. `pack.py` leaves training to another machine, and a bench has small stages of its own:
`generate.py` (a model's videos), `warp.py` (a mesh warp's) and `score.py` (any method's). `jobs/` is what is no stage,
such as `animate.py`. The other rooms, whose files import neither a stage nor a job:

    engine/     what a stage declares, how it is keyed, cached, resumed and spread over processes; the store
    workspace/  what a work folder holds: sources, clips, recipes, the run, its summary, what is published
    media/      video and sound, in and out
    faces/      the landmark model; faces found, followed and scored with it
    results/    scored reenactments as tables, pictures, plots and words
    animation/  what an animation is asked for, set up from, sampled with, and how it is shown
    studio/     a page on which portraits are animated
    bench/      a benchmark on disk: manifest, check, what methods made of it, tables side by side
    samples/    the demo's clips: portraits in known motion
    survey/     what a data set holds and lacks: numbers, coverage, pages
"""
