"""Tables from files and data frames, read by pandas, pyarrow and narwhals (extra `tables`).

byte_streams opens a file, decompressed, within limits. layout infers the dialect from the first lines; csv_table and
parquet_table read; data_frames converts data frames; conversion keeps a large table as memory-mapped columns; kept_reading:
the options that a model keeps.
"""
