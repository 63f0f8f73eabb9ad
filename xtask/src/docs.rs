//! `cargo xtask docs`: the reference pages under docs/generated, written from the code, and rustdoc's under target/doc.
//!
//! The generators are functions of the product's crates; the program `gen-docs` of the crate `e2e` calls them, so that
//! this one need not link the product.

use std::process::Command;

use clap::Args as ClapArgs;

use crate::cargo;

/// The program that knows all generators; with `--check` it writes nothing and fails when a page is stale.
pub(crate) const GENERATOR: &str = "gen-docs";

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Write nothing; fail when a page is stale.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    // The generator asks the programs for their help, and finds them beside itself.
    cargo::build(&["-p", "dsmil-agent", "-p", "dsmil-aggregator", "-p", "dsmilctl", "-p", "xtask", "--bins"])?;
    let mut generate = cargo::cargo(["run", "--quiet", "-p", "e2e", "--bin", GENERATOR, "--"]);
    cargo::succeed(generate.args(args.check.then_some("--check")))?;
    cargo::succeed(&mut rustdoc())
}

/// The pages of the code itself: any warning, such as a link that leads nowhere, is an error. Private items are among them,
/// since whoever reads these pages works on the code; so public words may point at private ones.
pub(crate) fn rustdoc() -> Command {
    let mut doc = cargo::cargo(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    doc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links");
    doc
}
