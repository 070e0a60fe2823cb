"""Whole files in, whole files out: `tasrih label news.csv.gz labelled.parquet`, in constant memory.

In reading order: `sources` finds the files and opens them, `readers` makes rows of them, `columns` decides
what the output holds, `writers` makes bytes of rows, `journal` keeps what was done from whatever kills the
process, and `label` leads rows past the classifier.
"""

from tasrih.bulk.label import Summary, label_files
from tasrih.bulk.sources import SourceError

__all__ = ["SourceError", "Summary", "label_files"]
