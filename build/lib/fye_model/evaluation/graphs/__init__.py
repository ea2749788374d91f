"""The networks of published metrics, as modules that take the published weight files. Imported only where weights are.

Names and shapes of the parameters are those of the files, so what loads is what was published: `assign` refuses a name
or a shape that differs. Facts of each network stand in its module, with where they are from.
"""
