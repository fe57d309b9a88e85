"""Options for tables. groups: options of a dataclass. text_format: the format of a file. column_use: the use of columns."""
