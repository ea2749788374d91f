"""The authors' released weights: their names, and their conversion into networks of ours."""

from fye_model.release.importing import RELEASED, ImportReport, check_output, import_release

__all__ = ["RELEASED", "ImportReport", "check_output", "import_release"]
