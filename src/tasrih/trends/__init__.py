"""The share of each act over time, from a labelled corpus to a table and a plot that can be published.

    trend = trends("labelled.parquet", by="source", every="month", labelled="checked.jsonl")
    write_table(trend, "trends.csv")
    write_plot(trend, "trends.png")

In reading order: `sources` reads the rows of a file, `count` makes periods and shares of them, `write` the
table and the plot.
"""

from tasrih.trends.count import EVERY, Every, Point, Trends, Value, trends
from tasrih.trends.write import write_plot, write_table

__all__ = ["EVERY", "Every", "Point", "Trends", "Value", "trends", "write_plot", "write_table"]
