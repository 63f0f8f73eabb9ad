//! Prometheus's query API over the store, for plain selectors, and its text format.
