//! Packages as they are shipped: what is in them, what their scripts do where no systemd runs, what proves whose they are.
//!
//! `cargo xtask test --long` makes them (`cargo xtask dist --debug`, which has lintian and rpmlint look at them) and names their
//! folder in `DSMIL_PACKAGES`. What they do under systemd is tested in tests/systemd.

mod alone;
mod deb;
mod listed;
mod made;
mod repeated;
mod rpm;
mod signed;
