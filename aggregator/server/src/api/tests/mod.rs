//! The API over real TLS on loopback.
