"""Making a rank dataset: what is asked for, source by source, and how it is put together."""
