"""The deployed flows, one file each, and the `fye` command line. Wiring only; the work is in `tasks`."""

import logging
import os

# Read by Prefect and Ray when they are imported, so they must stand before that.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "tasks,fye_model")  # their lines belong to the run's log
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")  # and outside a run to none
# Bars for models that load in a moment, and advice to install what is not needed, hide the run's own lines.
os.environ.setdefault("TQDM_DISABLE", "1")
for _name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
    os.environ.setdefault(_name, "error")
# Arrow's usual allocator keeps 60 MB of a few small tables for itself, and is no faster at them.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
# Threads wait awake for a moment, then asleep: endless spinning on busy cores made training three times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# What runs on this machine is never asked through a proxy.
HERE = ("127.0.0.1", "localhost", "::1")
for _name in ("NO_PROXY", "no_proxy"):
    _set = os.environ.get(_name, os.environ.get("NO_PROXY", os.environ.get("no_proxy", ""))).split(",")
    os.environ[_name] = ",".join([*filter(None, _set), *(host for host in HERE if host not in _set)])
for _name in ("tasks", "fye_model"):
    logging.getLogger(_name).setLevel(logging.INFO)
