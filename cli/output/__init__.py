"""What commands print: text, tables, times, progress bars."""
