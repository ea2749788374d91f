"""Jobs that are no stages of a run: an animation, a bench or a study built, runs compared, a data set told of.

They may use what stages export, and flows use them; so does the stage that animates a bench's pairs.
"""
