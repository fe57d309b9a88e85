"""Files of data: one reader for each format, the rules for tables, and the writer of synthetic sets.

read_arrays chooses the reader by the ending of the name. npy (.npy, .npz), csv_file, idx and table_columns (columns, text,
missing cells; Parquet) read; write_synthetic writes pairs of .npy files, and pair_stamps tells whether two belong together.
"""
