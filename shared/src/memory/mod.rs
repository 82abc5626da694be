//! Every port in memory, really storing.
