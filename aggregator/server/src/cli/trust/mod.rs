//! `trust`: the bundle in force is shown, the next one is drafted, signed where the root is, and published.

mod edit;
mod publish;
mod show;
mod sign;

use super::ConfigArgs;
use super::centre::with_centre;
use clap::{Args, Subcommand};
use dsmil_authority::Fingerprint;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum TrustVerb {
    /// Show the trust bundle in force and what the pending draft would change, or what a file says.
    Show(show::ShowArgs),
    /// Make a key for a new issuer, and ask for it in the draft.
    AddIssuer(AddIssuerArgs),
    /// Make a new root, to follow the one in force, and ask for it in the draft.
    AddRoot(AddRootArgs),
    /// Make an order key, which settings of the fleet are signed with, and ask for it in the draft.
    AddOrderKey(AddOrderKeyArgs),
    /// Ask in the draft for an issuer, a root or an order key to go.
    Retire(RetireArgs),
    /// Ask in the draft for a key to be shut out.
    RevokeKey(RevokeKeyArgs),
    /// Throw the draft away. Keys that were made for it stay in their files.
    Discard(DiscardArgs),
    /// Sign a draft, or a bundle anew so that it lasts longer. Runs where the root is, without a network; with DRAFT it needs
    /// no configuration.
    Sign(sign::SignArgs),
    /// Bring a signed trust bundle into force.
    Publish(publish::PublishArgs),
    /// Write the trust bundle in force to a file.
    Export(ExportArgs),
}

#[derive(Args)]
pub(crate) struct AddIssuerArgs {
    /// Its name; left out, the aggregator's with the next number.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct AddRootArgs {
    /// The folder that root.pem and root.key are made in: best on what is taken away afterwards. A root that is there already
    /// is taken as it is.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct AddOrderKeyArgs {
    /// The key's file, mode 0600: best on what is taken away afterwards. A key that is there already is taken as it is.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Its name; left out, orders- with the next number.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct RetireArgs {
    /// The name of the issuer, root or order key, or the first digits of its fingerprint.
    #[arg(value_name = "NAME|FINGERPRINT")]
    which: String,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct RevokeKeyArgs {
    /// The key's fingerprint, 96 digits, as `host show` and `trust show` print it.
    fingerprint: Fingerprint,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct DiscardArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// The file.
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(verb: TrustVerb) -> anyhow::Result<ExitCode> {
    match verb {
        TrustVerb::Show(args) => show::run(&args),
        TrustVerb::AddIssuer(args) => with_centre(&args.config, async |centre| edit::add_issuer(&args, centre).await),
        TrustVerb::AddRoot(args) => with_centre(&args.config, async |centre| edit::add_root(&args, centre).await),
        TrustVerb::AddOrderKey(args) => {
            with_centre(&args.config, async |centre| edit::add_order_key(&args, centre).await)
        }
        TrustVerb::Retire(args) => with_centre(&args.config, async |centre| edit::retire(&args, centre).await),
        TrustVerb::RevokeKey(args) => with_centre(&args.config, async |centre| edit::revoke_key(&args, centre).await),
        TrustVerb::Discard(args) => with_centre(&args.config, async |centre| edit::discard(centre)),
        TrustVerb::Sign(args) => sign::run(&args),
        TrustVerb::Publish(args) => with_centre(&args.config, async |centre| publish::run(&args, centre).await),
        TrustVerb::Export(args) => with_centre(&args.config, async |centre| publish::export(&args, centre).await),
    }?;
    Ok(ExitCode::SUCCESS)
}
