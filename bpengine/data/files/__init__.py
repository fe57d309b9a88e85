"""Files of data: one reader for each format, and the writer of synthetic sets.

read_arrays chooses the reader. npy (.npy, .npz), idx and table_files (text tables and Parquet, by tables/) read;
write_synthetic writes pairs of .npy files, and pair_stamps tells whether two belong together.
"""
