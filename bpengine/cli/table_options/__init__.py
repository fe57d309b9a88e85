"""Options for tables. groups: options of a dataclass. text_format: how a file is written. column_use: what columns are for."""
