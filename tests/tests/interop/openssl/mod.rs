//! OpenSSL 3.5, as node 24 brings it: certificates, bundles, keys and requests both ways, and the link's TLS over TCP.
//!
//! OpenSSL has QUIC too, but node does not show it; what TLS negotiates and whom it trusts is the same over TCP.

mod keys;
mod peer;
mod tls;
