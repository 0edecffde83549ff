"""Files in bulk: lists of files in, a table of answers out, on one core, on many, or on many machines.

listing.py   files, folders, globs and manifests -> entries
row.py       what stands in the table for a file or a segment of it
answering.py entries -> rows, in order: many files at a time on one classifier
parts.py     the list cut into parts, each a file of answers that is whole or not there; what `--resume` rests on
worker.py    parts -> files of answers; a part that ended its process twice is heard file by file
pool.py      workers in processes of their own
tables.py    rows as CSV, lines of JSON and Parquet
cluster.py   the same workers as actors of Ray
"""
